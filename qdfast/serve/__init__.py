"""Serves a model directory over TensorFlow Serving's gRPC API, with TensorFlow Serving or with the embedded server."""

from .main import serve
from .options import ServeOptions

__all__ = ["ServeOptions", "serve"]
