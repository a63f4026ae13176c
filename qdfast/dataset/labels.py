"""Labels drawings with the name of their file or the word of their line."""

from __future__ import annotations

import numpy as np

from ..bitmaps import Bitmaps
from ..drawings import Drawings
from ..errors import DataError
from ..formats.bitmap_files import read_bitmap_file
from ..parse_report import ParseReport, add_counts
from ..storage.names import Label
from ..storage.source_files import SourceFile


def labelled(batch: Drawings, label: Label, file_label: str) -> tuple[Drawings, ParseReport]:
    """Label a batch of drawings.

    Args:
        label: "file": all drawings get ``file_label``. "word": each keeps its word; drawings without one are rejected
            as ``field_missing``.

    Returns:
        The batch with its classes as words, and its report.
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


def labelled_bitmaps(source: SourceFile, label: Label) -> Bitmaps:
    """The bitmaps of a file, labelled with the class of its name.

    Raises:
        DataError: not a file of bitmaps, or ``label`` is "word".
    """
    if label != "file":
        raise DataError(f'{source.name}: bitmaps have no words: use label="file" (--label file)')
    return read_bitmap_file(source)
