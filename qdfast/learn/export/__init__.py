"""Exports a run as a SavedModel for TensorFlow Serving."""
