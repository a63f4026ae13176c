"""The web page: draw, and a served model guesses. Needs Starlette and uvicorn (``pip install qdfast[play]``)."""

from .launch import play

__all__ = ["play"]
