"""Prepared directories: writes, opens, converts and shows them."""
