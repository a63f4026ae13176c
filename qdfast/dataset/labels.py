"""Labels drawings with the name of their file or the word of their line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..bitmaps import Bitmaps
from ..drawings import Drawings
from ..errors import DataError
from ..formats.bitmap_files import read_bitmap_file
from ..parse_report import ParseReport, add_counts
from ..storage.names import Label
from ..storage.source_files import Log, SourceFile


def with_labels(batch: Drawings, label: Label, file_label: str) -> Drawings:
    """Label a batch of drawings. Their words are then their classes.

    Args:
        label: "file": all drawings get ``file_label``. "word": each keeps its word, and drawings without one are
            dropped.
    """
    if label == "file":
        return batch.with_word(file_label)
    if "" in batch.words:
        named = np.array([word != "" for word in batch.words])[batch.word_codes]
        batch = batch if named.all() else batch[named]
    return batch.with_used_words()


def warn_of_words(words: Iterable[str], label: Label, source: SourceFile, log: Log) -> None:
    """Log a warning if the lines of a source have several words, but its drawings all become one class."""
    found = sorted({*words} - {""})
    if label == "file" and len(found) > 1:
        some = f"{', '.join(found[:3])}{', …' if len(found) > 3 else ''}"
        log(
            f"{source.name}: warning: its lines have {len(found):,} words ({some}), but all become the class "
            f'{source.label}: label="word" (--label word) takes the words'
        )


def without_unnamed(report: ParseReport, kept: int) -> ParseReport:
    """The report of a batch of which ``with_labels`` kept some: the others are rejected as ``field_missing``."""
    if kept == report.kept:
        return report
    rejected = add_counts(report.rejected, {"field_missing": report.kept - kept})
    return replace(report, kept=kept, rejected=rejected)


def labelled(batch: Drawings, label: Label, file_label: str) -> tuple[Drawings, ParseReport]:
    """A batch as by ``with_labels``, and its report."""
    drawings = with_labels(batch, label, file_label)
    return drawings, without_unnamed(batch.report or ParseReport(kept=len(batch)), len(drawings))


def labelled_bitmaps(source: SourceFile, label: Label) -> Bitmaps:
    """The bitmaps of a file, labelled with the class of its name.

    Raises:
        DataError: not a file of bitmaps, or ``label`` is "word".
    """
    if label != "file":
        raise DataError(f'{source.name}: bitmaps have no words: use label="file" (--label file)')
    return read_bitmap_file(source)
