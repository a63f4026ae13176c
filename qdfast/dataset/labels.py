"""The class of a drawing: its file's name, or its line's word."""

from __future__ import annotations

import os

import numpy as np

from ..bitmaps import Bitmaps, read_bitmaps
from ..drawings import Drawings
from ..errors import DataError
from ..parse_report import ParseReport, add_counts
from ..storage.names import Label


def labelled(batch: Drawings, label: Label, file_label: str) -> tuple[Drawings, ParseReport]:
    """A batch that was read, with its classes as words, and its report.

    With ``label="word"`` the drawings without a word are left out and counted as ``field_missing``.
    """
    report = batch.report or ParseReport(kept=len(batch))
    if label == "file":
        return batch.with_word(file_label), report
    named = np.array([word != "" for word in batch.words])[batch.word_codes]
    if missing := len(batch) - int(named.sum()):
        batch = batch[named]
        rejected = add_counts(report.rejected, {"field_missing": missing})
        report = ParseReport(
            len(batch), rejected, report.examples, report.unread, report.empty_strokes, report.via_orjson
        )
    return batch.with_used_words(), report


def labelled_bitmaps(path: str | os.PathLike[str], label: Label) -> Bitmaps:
    """The bitmaps of a file, by its name. DataError: it is not such a file, or their words are asked for."""
    if label != "file":
        raise DataError(f"{path}: bitmaps have no words: their class can only be the file's name")
    return read_bitmaps(path)
