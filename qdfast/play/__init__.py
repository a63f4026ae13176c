"""A web page on which a served model guesses what the user draws. Needs the extra ``play``."""

from .._hints import needs

with needs("play"):
    from .server import play

__all__ = ["play"]
