"""Drawings to show beside one's own, and the words to draw."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import orjson

from ..client import Client
from ..dataset.prepared import Prepared
from ..dataset.rows import Rows
from ..dataset.sources import resolve, source_name
from ..drawings import Drawings
from ..errors import DataError
from ..ndjson import iter_ndjson
from ..quickdraw.doodles import CLASSES, Drawing, doodle
from ..serve.versions import newest_version
from ..storage.source_files import SourceFile
from ..strokes import from_strokes

EXPORTED = "assets.extra/qdfast.json"  # in a version's directory
LABELS = 50  # asked for, per drawing: more than exported models have

_rng = np.random.default_rng()


class Examples:
    """Some drawings of any class: of ``sources``, else procedural ones, else none.

    Args:
        sources: ndjson files (the class is the file's name), directories of them, and prepared directories.

    Raises:
        DataError, OSError: a source that cannot be read, or has only bitmaps, or no drawings.
    """

    def __init__(self, sources: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._of: dict[str, Callable[[int], Drawings]] = {}
        for source in resolve(sources) if sources else ():
            if source.kind == "bitmaps":
                raise DataError(f"{source_name(source)}: these are bitmaps, and strokes are shown")
            if isinstance(source, Prepared):
                rows = source.rows()
                self._of |= {name: partial(_of_rows, rows, code) for code, name in enumerate(source.classes)}
            else:
                if not len(_of_file(source, 1)):
                    raise DataError(f"{source_name(source)}: no drawings to show at its beginning")
                self._of[source.label] = partial(_of_file, source)

    @property
    def classes(self) -> list[str]:
        """Of the sources, sorted."""
        return sorted(self._of)

    def some(self, word: str, count: int) -> tuple[list[Drawing], str]:
        """At most ``count`` drawings of a class, chosen by chance, and what they are: "real" or "procedural".

        Raises:
            DataError, OSError: the source can no longer be read.
        """
        if word in self._of:
            drawings = self._of[word](count)
            return [[[x.tolist(), y.tolist()] for x, y in strokes] for strokes in drawings], "real"
        if word in CLASSES:
            return [doodle(word, _rng) for _ in range(count)], "procedural"
        return [], "real"


def _of_file(source: SourceFile, count: int) -> Drawings:
    """From the first some thousand, as a file of Google's has 60 MB; not those that Google's game did not recognize."""
    drawings = next(iter_ndjson(source, recognized="any", threads=1), None)
    if drawings is None:
        return from_strokes([])
    return drawings[_chosen(np.flatnonzero(drawings.recognized != 0), count)]


def _of_rows(rows: Rows, code: int, count: int) -> Drawings:
    return rows.drawings(_chosen(np.flatnonzero(rows.labels == code), count))


def _chosen(rows: np.ndarray, count: int) -> np.ndarray:
    return _rng.choice(rows, min(count, len(rows)), replace=False)


def newest_export(directory: Path) -> Path:
    """The model directory, at most three levels below ``directory``, that `qdfast export` wrote to last.

    Raises:
        DataError: there is none.
    """
    found = [file for depth in range(4) for file in directory.glob("*/" * depth + f"[0-9]*/{EXPORTED}")]
    if not found:
        raise DataError(f"no exported model in {directory.resolve()}: name one by --model-dir, or a server by --target")
    return max(found, key=lambda file: file.stat().st_mtime_ns).parents[2]


def exported_classes(model_dir: Path) -> list[str]:
    """The class names of the newest version in ``model_dir``; none if `qdfast export` has not written it."""
    about = model_dir / str(newest_version(model_dir)) / EXPORTED
    return list(orjson.loads(about.read_bytes())["classes"]) if about.exists() else []


def named_classes(client: Client) -> list[str]:
    """The classes that a served model names when it is asked about doodles: no server tells all of them.

    Raises:
        ServingError: the model cannot be asked.
    """
    rng = np.random.default_rng(0)
    answers = client.predict(from_strokes([doodle(name, rng) for name in CLASSES for _ in range(3)]), k=LABELS)
    return sorted(set(answers.labels.ravel().tolist()))
