"""Reads drawings from files and prepared directories alike."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from ..bitmaps import AnyDrawings
from ..errors import DataError
from ..formats.bitmap_files import read_bitmap_file
from ..ndjson import iter_ndjson, read_ndjson
from ..ndjson.parser import ParserPool
from ..parse_report import MAX_REJECTS, ParseReport, check_rejects, checked_max_rejects, explain
from ..storage.names import MANIFEST, Label, Recognized, Split
from ..storage.progress import counted
from ..storage.source_files import Log, SourceFile, expand, warn
from .labels import labelled, labelled_bitmaps, warn_of_words
from .prepared import Prepared, open_prepared
from .rows import Rows

Path_ = str | os.PathLike[str]

_BATCH = 8192  # drawings of a mapped file per batch


def _is_prepared(source: Path_) -> bool:
    return (Path(source) / MANIFEST).exists()


def resolve(
    sources: Iterable[Path_ | IO[bytes] | Prepared | SourceFile], log: Log = warn
) -> list[Prepared | SourceFile]:
    """Open prepared directories, and expand other directories and archives to the files of drawings in them, in order.

    Args:
        sources: any number of them, also what this function has returned.
        log: called with a line that names the files that are passed over.

    Raises:
        DataError, OSError: a source does not exist, or a directory has no such files.
    """
    found: list[Prepared | SourceFile] = []
    for source in sources:
        if isinstance(source, Prepared):
            found.append(source)
        elif isinstance(source, str | os.PathLike) and _is_prepared(source):
            found.append(open_prepared(source))
        else:
            found += expand(source, bitmaps=True, log=log)
    return found


def source_name(source: Prepared | SourceFile) -> str:
    """The name of a source in messages."""
    return str(source.path) if isinstance(source, Prepared) else source.name


def load_rows(
    sources: Sequence[Path_],
    *,
    recognized: Recognized = "only",
    label: Label = "file",
    raw: bool = False,
    max_rejects: float = MAX_REJECTS,
    split: Split | Literal["auto"] = "auto",
    trained_on: Sequence[Mapping[str, Any]] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Rows:
    """Load labelled drawings from files, directories and archives of them, and prepared directories.

    Args:
        sources: any number of them.
        recognized, label, raw, max_rejects: as in ``prepare``. They do not apply to prepared directories.
        split: which drawings of prepared directories. "auto": "validation" if a model was trained on the directory,
            also if more was prepared there later (drawings stay in their split), else "all".
        trained_on: ``path`` and ``digest`` of the prepared directory of each model to evaluate. The log warns about
            drawings that a model was trained on.
        log: called with one line per source.

    Returns:
        All drawings, in order.

    Raises:
        DataError: an invalid source, one without drawings or with too many unreadable lines, or one without such a
            split.
        OSError: a source cannot be read.
    """
    checked_max_rejects(max_rejects)
    parts = []
    resolved = resolve(sources, log)
    for source in resolved:
        if split not in ("auto", "all") and not isinstance(source, Prepared):
            raise DataError(f"{source_name(source)}: not a prepared directory, so it has no {split} split")
    _warn_of_copies(resolved, log)
    for source in resolved:
        if isinstance(source, Prepared):
            known = any(source.digest == t["digest"] or source.path.resolve() == Path(t["path"]) for t in trained_on)
            chosen = split if split != "auto" else "validation" if known else "all"
            rows = source.rows(chosen)
            of = "all splits" if chosen == "all" else f"{chosen} split"
            log(f"{source.path}: {counted(len(rows), 'drawing')} ({of})")
            if known and chosen != "validation":
                log(f"{source.path}: the network was trained on some of these drawings")
            parts.append(rows)
            continue
        drawings, report = _read(source, recognized, label, raw, log)
        if not len(drawings):
            raise DataError(f"{source_name(source)}: no drawings: {explain(report)}")
        check_rejects(report, source_name(source), max_rejects)
        log(f"{source_name(source)}: {explain(report)}")
        for data in dict.fromkeys(t["path"] for t in trained_on):
            if _was_trained_on(source, data):
                name = source_name(source)
                log(f"{name}: the network was trained on most of these; to leave those out, evaluate on {data}")
        parts.append(Rows.from_drawings([(drawings, drawings.word_codes)], drawings.words))
    return Rows.merge(parts)


def _read(
    source: SourceFile, recognized: Recognized, label: Label, raw: bool, log: Log
) -> tuple[AnyDrawings, ParseReport]:
    if source.kind == "strokes":
        drawings = read_ndjson(source, recognized=recognized, raw=raw)
        warn_of_words(drawings.words, label, source, log)
        return labelled(drawings, label, source.label)
    bitmaps = labelled_bitmaps(source, label)
    return bitmaps, ParseReport(kept=len(bitmaps))


def _warn_of_copies(sources: Iterable[Prepared | SourceFile], log: Log) -> None:
    """Log a warning for each file with the same bytes as an earlier one. Files of different sizes are not read."""
    files = [source for source in sources if isinstance(source, SourceFile) and isinstance(source.file, Path)]
    sizes = Counter(file.size for file in files)
    first: dict[str, str] = {}
    for file in files:
        if sizes[file.size] > 1 and file.size:
            same = first.setdefault(file.digest(), file.name)
            if same != file.name:
                log(f"{file.name}: warning: the same bytes as {same}: each of these drawings counts twice")


def _was_trained_on(source: SourceFile, data: str) -> bool:
    """Whether the file is a source of the prepared directory ``data``. False if that no longer exists."""
    if not isinstance(source.file, Path) or not _is_prepared(data):
        return False
    sources = open_prepared(data).manifest["sources"]
    if source.size not in [s["size"] for s in sources]:
        return False
    return source.digest() in [s["xxh3"] for s in sources]


def batches_of(
    source: Prepared | SourceFile, recognized: Recognized, pool: ParserPool, *, raw: bool = False
) -> Iterator[AnyDrawings]:
    """All drawings of a source found by ``resolve``, in order, in batches of some thousand, in constant memory.

    Batches of ndjson carry their reports. Prepared directories give all splits.
    """
    if isinstance(source, Prepared):
        wholes: Iterable[AnyDrawings] = (drawings for drawings, _ in source.read_shards())
    elif source.kind == "bitmaps":
        wholes = [read_bitmap_file(source)]
    else:
        yield from iter_ndjson(source, recognized=recognized, raw=raw, pool=pool)
        return
    for whole in wholes:
        for start in range(0, len(whole), _BATCH):
            yield whole[start : start + _BATCH]
