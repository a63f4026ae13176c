"""Text from outside, such as file names, words, model names and servers' messages, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Escape the characters that ``repr`` escapes: controls (also C1), bidi overrides, line ends, lone surrogates.

    A terminal obeys such characters, a log takes a line end for a new entry, and a bidi override shows other text than
    there is. All else stays as it is. The result is one line.

    >>> printable("cat\x1b]0;title\x07\n\u202etac"), printable("crème brûlée")
    ('cat\\x1b]0;title\\x07\\n\\u202etac', 'crème brûlée')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
