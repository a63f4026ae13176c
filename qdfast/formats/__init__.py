"""Drawings in other formats: Arrow, Parquet, TFRecord."""
