"""Suggests what a misspelt name or path may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_MOST = 10_000  # names in a directory that a path is compared with


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``" (did you mean …?)"`` with the most similar of the ``known`` names; "" if none is similar.

    >>> did_you_mean("stroke_cnv", ["stroke_conv", "knn"]), did_you_mean("x", ["stroke_conv"])
    (' (did you mean stroke_conv?)', '')
    """
    found = _most_similar(name, known)
    return f" (did you mean {found}?)" if found else ""


def _most_similar(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    by_lower = {other.lower(): other for other in known if other != name}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else ""


def similar_path(path: Path) -> str:
    """``" (did you mean …?)"`` with an existing path that is similar to ``path``, which does not exist; else ""."""
    missing = path
    while missing.parent != missing and not missing.parent.exists():
        missing = missing.parent
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir() if entry.name.isprintable())
    except OSError:
        return ""
    found = _most_similar(missing.name, names) if len(names) <= _MOST else ""
    if not found:
        return ""
    similar = missing.with_name(found)
    whole = similar / path.relative_to(missing)
    return f" (did you mean {whole if whole.exists() else similar}?)"
