"""Serve a model directory over TensorFlow Serving's gRPC API: by that server where installed, else by our own."""

from .main import serve

__all__ = ["serve"]
