"""Metrics and reports of trained models on labelled drawings."""
