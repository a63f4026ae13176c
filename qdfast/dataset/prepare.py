"""Prepares files for training on this machine: shards, a split, statistics and a manifest.

The result depends only on the sources' bytes and the options. ``shard_writer`` tells how shards are made,
``manifest`` what happens when it is run again. ``beam`` is for more than one machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from .._hints import require
from ..errors import DataError
from ..ndjson.blocks import FileBlocks
from ..ndjson.parser import ParserPool
from ..parse_report import MAX_REJECTS, checked_max_rejects, explain
from ..storage.directories import PREPARED, output
from ..storage.files import Directory, only_writer
from ..storage.forms import EXTRAS
from ..storage.names import SHARDS, Label, Recognized
from ..storage.progress import Progress
from ..storage.source_files import SourceFile, expand
from .manifest import (
    add_record,
    candidates,
    commit_source,
    describe_damaged,
    describe_unchanged,
    is_intact,
    read_records,
    source_key,
    write_manifest,
)
from .prepared import Prepared
from .shard_writer import BLOCK, VALIDATION, PrepareOptions, Record, SourceSummary, bitmaps_of, strokes_of, write_shards


def prepare(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    recognized: Recognized = "only",
    label: Label = "file",
    validation: float = VALIDATION,
    keep_split: bool = False,
    raw: bool = False,
    max_rejects: float = MAX_REJECTS,
    threads: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Prepared:
    """Prepare files for training. The same call continues one that was killed.

    Args:
        sources: files of strokes in any format that ``read_ndjson`` reads, or directories or archives of them; or
            Google's bitmaps, uint8 (n, 784) in .npy files, or pictures, for models that take bitmaps.
        out: the directory to write. Files of earlier calls that do not belong to this one's result are removed.
        recognized: as in ``read_ndjson``.
        label: the class of a drawing: "file", the name of its file, or "word", the word of its line.
        validation: the fraction of drawings in the validation split. A hash of the strokes (or pixels) selects them,
            so equal drawings are always in the same split.
        keep_split: keep the split of sketch-rnn's .npz files instead: ``train`` is for training and ``valid`` for
            validation; ``test`` is left out, so that it stays unseen.
        raw: the ndjson sources are raw, and are simplified, as in ``read_ndjson``.
        max_rejects: the share of a source's lines that may be unreadable. Drawings that were not recognized are not
            unreadable.
        threads: number of parsing threads. Default: one per core.
        log: called with one line per source, which tells the class and what became of the lines, and with warnings.

    Returns:
        The prepared data, opened.

    Raises:
        DataError: no sources, a source without drawings, with too many unreadable lines or that is not a regular file,
            strokes and bitmaps together, ``keep_split`` of a source without a split, an invalid argument, ``out``
            contains something else, or another process writes to it.
        OSError: a file cannot be read or written. Files with final names are always complete.
    """
    options = PrepareOptions(recognized, label, validation, raw, keep_split)
    checked_max_rejects(max_rejects)
    files = regular_files(sources, log)
    options.check_splits([(file.name, file.form) for file in files], log)
    out = output(out, PREPARED)
    with only_writer(out, "preparing"):
        target, shards = Directory(out), Directory(out / SHARDS)
        shards.make()
        target.clean()
        shards.clean()
        known = read_records(shards, max_rejects)
        records: dict[str, Record] = {}
        size = sum(file.size for file in files)
        with Progress("prepare", size, "bytes") as progress, ParserPool(threads) as pool:
            for file in files:
                record = _known(file, options, known)
                if record and not is_intact(record, shards):
                    log(describe_damaged(file.name))
                    record = None
                if record:
                    progress.update(record["size"])
                    said = describe_unchanged(record)
                else:
                    record, said = _prepare(file, options, max_rejects, shards, pool, progress, log)
                    known.append(record)
                add_record(records, file.name, record, said, log)
        write_manifest(target, shards, records.values(), options, files[0].kind, log)
    return Prepared(out)


def regular_files(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], log: Callable[[str], None]
) -> list[SourceFile]:
    """The files that ``sources`` name, in order. Arguments and errors as for ``prepare``."""
    files = expand(sources, bitmaps=True, log=log)
    for extra in {EXTRAS[file.form] for file in files if file.form in EXTRAS}:
        require(extra)
    for file in files:
        if not file.path.is_file() and not file.pictures:
            raise DataError(f"{file.name}: not a regular file: the manifest needs its size and digest")
        if file.kind != files[0].kind:
            raise DataError(f"{file.name} and {files[0].name}: bitmaps and strokes cannot be prepared together")
    return files


def _known(file: SourceFile, options: PrepareOptions, records: list[Record]) -> Record | None:
    """The record of this source, if exactly the same bytes were prepared before."""
    found = candidates(records, file.size, options)
    key = source_key(file.digest(), file.label, options) if found else None
    return next((record for record in found if record["key"] == key), None)


def _prepare(
    file: SourceFile,
    options: PrepareOptions,
    max_rejects: float,
    shards: Directory,
    pool: ParserPool,
    progress: Progress,
    log: Callable[[str], None],
) -> tuple[Record, str]:
    """Write the shards of a source. Returns its record and what the log says about it."""
    if file.kind == "bitmaps":
        summary = write_shards(bitmaps_of(file, options), shards, pool)
        size, digests = file.size, file.digests()
        progress.update(size)
    else:
        blocks = FileBlocks(file, digest=True, on_read=progress.update, block=BLOCK, keep_split=options.keep_split)
        summary = write_shards(strokes_of(blocks, file.label, options, pool, log), shards, pool)
        size, digests = blocks.size, blocks.digests
    summary += SourceSummary(digests=digests)
    record = commit_source(summary, file.name, size, file.label, options, shards, max_rejects)
    return record, explain(summary.report)
