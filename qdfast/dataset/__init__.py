"""Prepared directories: made from sources, mapped back, converted, shown."""
