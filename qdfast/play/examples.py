"""Example drawings to show after a round, and the words for the game."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..client import Client
from ..dataset.prepared import Prepared
from ..dataset.rows import Rows
from ..dataset.sources import resolve, source_name
from ..drawings import Drawings
from ..errors import DataError
from ..ndjson import iter_ndjson
from ..quickdraw.doodles import CLASSES, Drawing, doodle
from ..storage.model_info import read_model_info
from ..storage.names import MODEL_INFO
from ..storage.source_files import SourceFile
from ..storage.versions import model_format, newest_version
from ..strokes import from_strokes

PROBE_K = 50  # more labels than exported models return

_rng = np.random.default_rng()


class Examples:
    """Random drawings of a class: from ``sources``, otherwise procedural ones, otherwise none.

    Args:
        sources: ndjson files (the class is the file's name), directories of them, and prepared directories.

    Raises:
        DataError, OSError: a source cannot be read, contains bitmaps, or has no drawings at its beginning.
    """

    def __init__(self, sources: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._samplers: dict[str, Callable[[int], Drawings]] = {}
        for source in resolve(sources) if sources else ():
            if source.kind == "bitmaps":
                raise DataError(f"{source_name(source)}: these are bitmaps; examples need strokes")
            if isinstance(source, Prepared):
                rows = source.rows()
                self._samplers |= {name: partial(_sample_rows, rows, code) for code, name in enumerate(source.classes)}
            else:
                if not len(_sample_file(source, 1)):
                    raise DataError(f"{source_name(source)}: no drawings to show at the beginning of this file")
                self._samplers[source.label] = partial(_sample_file, source)

    @property
    def classes(self) -> list[str]:
        """The classes in the sources, sorted."""
        return sorted(self._samplers)

    def sample(self, word: str, count: int) -> tuple[list[Drawing], str]:
        """Choose random drawings of a class.

        Returns:
            At most ``count`` drawings, and their kind: "real" or "procedural".

        Raises:
            DataError, OSError: the source can no longer be read.
        """
        if word in self._samplers:
            drawings = self._samplers[word](count)
            return [[[x.tolist(), y.tolist()] for x, y in strokes] for strokes in drawings], "real"
        if word in CLASSES:
            return [doodle(word, _rng) for _ in range(count)], "procedural"
        return [], "real"


def _sample_file(source: SourceFile, count: int) -> Drawings:
    """Choose from the first batch, since Google's files are 60 MB each; skip drawings that Google did not recognize."""
    drawings = next(iter_ndjson(source, recognized="any", threads=1), None)
    if drawings is None:
        return from_strokes([])
    return drawings[_choose(np.flatnonzero(drawings.recognized != 0), count)]


def _sample_rows(rows: Rows, code: int, count: int) -> Drawings:
    return rows.drawings(_choose(np.flatnonzero(rows.labels == code), count))


def _choose(rows: np.ndarray, count: int) -> np.ndarray:
    return _rng.choice(rows, min(count, len(rows)), replace=False)


def newest_export(directory: Path) -> Path:
    """Return the model directory that `qdfast export` wrote to last, at most three levels below ``directory``.

    Only those that can be asked here count, SavedModels and ONNX files.

    Raises:
        DataError: there is none.
    """
    files = [file for depth in range(4) for file in directory.glob("*/" * depth + f"[0-9]*/{MODEL_INFO}")]
    found = [file for file in files if model_format(file.parents[1]) in (None, "savedmodel", "onnx")]
    if not found:
        raise DataError(f"no exported model in {directory.resolve()}: give --model-dir, or --target for a server")
    return max(found, key=lambda file: file.stat().st_mtime_ns).parents[2]


def exported_classes(model_dir: Path) -> list[str]:
    """Return the class names of the newest version in ``model_dir``; none if `qdfast export` did not write it."""
    return list(read_model_info(model_dir / str(newest_version(model_dir))).get("classes", []))


def probe_classes(client: Client) -> list[str]:
    """Return the classes that a served model predicts for procedural doodles, as no server lists all its classes.

    Raises:
        ServingError: the request failed.
    """
    rng = np.random.default_rng(0)
    predictions = client.predict(from_strokes([doodle(name, rng) for name in CLASSES for _ in range(3)]), k=PROBE_K)
    return sorted(set(predictions.labels.ravel().tolist()))
