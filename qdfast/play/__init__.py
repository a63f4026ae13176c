"""A web page on which a served model guesses what the user draws. Needs ``pip install qdfast[play]``."""

from .server import play

__all__ = ["play"]
