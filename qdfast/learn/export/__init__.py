"""Exports a run as a SavedModel for TensorFlow Serving, or for ONNX Runtime, LiteRT or OpenVINO."""
