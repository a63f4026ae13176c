"""The web page: draw, and a served model guesses. Needs Starlette and uvicorn (``pip install qdfast[play]``)."""

from .server import play

__all__ = ["play"]
