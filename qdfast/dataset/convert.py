"""Converts prepared drawings to Parquet, Arrow, TFRecord and ndjson, and these formats to one another.

The result is a directory of files ``SPLIT-NUMBER-of-COUNT.SUFFIX``, one per shard and split, as Hugging Face's
``load_dataset`` and users of TensorFlow expect them. ``converted.json`` lists them by name and size, so that the next
call replaces these files and no others. ``classes.json``, the sorted list of classes, is written last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from ..bitmaps import AnyDrawings, Bitmaps
from ..errors import DataError
from ..ndjson import format_ndjson, read_ndjson
from ..storage import names
from ..storage.directories import CONVERTED, output
from ..storage.files import Directory, only_writer, replacing
from ..storage.names import CLASSES, CONVERT_FORMATS, MANIFEST, SPLITS
from ..storage.progress import Progress
from .prepared import open_prepared

FORMAT = 1
_NAME = re.compile(rf"({'|'.join(SPLITS)})-(\d{{5,}})-of-(\d{{5,}})\.({'|'.join(CONVERT_FORMATS)})")


class SplitShard(NamedTuple):
    """The drawings of one split in one shard: shard ``number``, from 0, of ``of``."""

    split: str
    number: int
    of: int
    drawings: AnyDrawings


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str,
    log: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Convert the drawings of ``source`` to another format.

    Args:
        source: a prepared directory, or one that this function has written.
        out: the directory to write, created if it does not exist. Files of an earlier call are replaced when all new
            ones are complete, which needs space for both.
        format: "parquet" or "arrow" (see ``formats.arrow``), "tfrecord" (see ``formats.tfrecord``), or "ndjson", in
            Google's form, which ``prepare`` reads with ``label="word"``.
        log: called with one line at the end.

    Returns:
        The files with drawings.

    Raises:
        DataError: ``source`` is neither of these, or damaged; bitmaps as ndjson; ``out`` contains something else, or
            files that look like a conversion but are not from an earlier call; another process converts to it.
        OSError: a file cannot be read or written. Files are complete or do not exist.
    """
    if format not in CONVERT_FORMATS:
        raise DataError(f"format is {format!r}: it must be one of {', '.join(CONVERT_FORMATS)}")
    source, out = Path(source), output(out, CONVERTED)
    if source.resolve() == out.resolve():
        raise DataError(f"{out}: source and output are the same directory")
    classes, total, parts = _prepared(source) if (source / MANIFEST).exists() else _converted(source)
    write, _ = _functions(format)
    paths = []
    sizes = {CLASSES: len(about := orjson.dumps(classes))}
    with only_writer(out, "converting to"), Progress("convert", total) as progress:
        there = Directory(out)
        earlier = _earlier(there)
        there.clean()
        with ExitStack() as complete:
            for part in parts:
                path = out / f"{part.split}-{part.number:05d}-of-{part.of:05d}.{format}"
                temporary = complete.enter_context(replacing(path))
                write(temporary, part.drawings, classes)
                sizes[path.name] = temporary.stat().st_size
                paths.append(path)
                progress.update(len(part.drawings))
            there.remove(earlier)
            there.write(names.CONVERTED, orjson.dumps({"format": FORMAT, "files": sizes}))
        there.write(CLASSES, about)
    log(f"{out}: {progress.done:,.0f} drawings in {len(paths)} files")
    return paths


def _earlier(out: Directory) -> list[str]:
    """The files of an earlier call. DataError: files that only look like them, or were changed since."""
    found = [(name, size) for name, size in out.sizes().items() if name == CLASSES or _NAME.fullmatch(name)]
    ours = _listed(out)
    for name, size in found:
        if ours.get(name) != size:
            raise DataError(f"{out.path / name}: not from an earlier conversion, or changed since: it is not replaced")
    return [name for name, _ in found]


def _listed(out: Directory) -> Mapping[str, int]:
    """The size in bytes of each file that an earlier call has written, by name."""
    try:
        about = orjson.loads(out.read(names.CONVERTED))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}, this version reads {FORMAT}")
        return dict(about["files"])
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{out.path / names.CONVERTED}: not a file of qdfast, or damaged: {e}") from e


def read_converted(path: str | os.PathLike[str]) -> AnyDrawings:
    """Read one file that ``convert`` has written.

    Raises:
        DataError: not such a file, or a damaged one.
        OSError: the file cannot be read.
    """
    path = Path(path)
    format = path.suffix[1:]
    if format not in CONVERT_FORMATS:
        raise DataError(f"{path}: the suffix must be one of {', '.join(f'.{name}' for name in CONVERT_FORMATS)}")
    _, read = _functions(format)
    try:
        return read(path)
    except ValueError as e:  # DataError, and pyarrow's own
        raise DataError(f"{path}: {e}") from e


def _functions(format: str) -> tuple[Callable[[Path, AnyDrawings, Sequence[str]], None], Callable[[Path], AnyDrawings]]:
    """The functions that write and read ``format``. They are imported only now, with the libraries that they need."""
    if format == "ndjson":
        return _write_ndjson, lambda path: read_ndjson(path, recognized="any")
    if format == "tfrecord":
        from ..formats import tfrecord

        return tfrecord.write_tfrecord, tfrecord.read_tfrecord
    from ..formats import arrow

    if format == "arrow":
        return arrow.write_arrow, arrow.read_arrow
    return arrow.write_parquet, arrow.read_parquet


def _write_ndjson(path: Path, drawings: AnyDrawings, classes: Sequence[str]) -> None:
    if isinstance(drawings, Bitmaps):
        raise DataError("bitmaps have no strokes and cannot be written as ndjson")
    path.write_bytes(format_ndjson(drawings))


def _prepared(source: Path) -> tuple[Sequence[str], int, Iterator[SplitShard]]:
    """The classes, the number of drawings, and the drawings."""
    data = open_prepared(source)

    def parts() -> Iterator[SplitShard]:
        count = len(data.shard_paths)
        for number, (drawings, split) in enumerate(data.read_shards()):
            for code, name in enumerate(SPLITS):
                yield SplitShard(name, number, count, drawings[np.flatnonzero(split == code)])

    return data.classes, data.manifest["drawings"], parts()


def _converted(source: Path) -> tuple[Sequence[str], int | None, Iterator[SplitShard]]:
    if not (source / CLASSES).exists():
        what = f"neither prepared ({MANIFEST}) nor converted ({CLASSES})" if source.exists() else "no such directory"
        raise DataError(f"{source}: {what}")
    try:
        classes = orjson.loads((source / CLASSES).read_bytes())
    except orjson.JSONDecodeError as e:
        raise DataError(f"{source / CLASSES}: damaged: {e}") from e
    found = (_NAME.fullmatch(path.name) for path in source.iterdir())
    matches = sorted((match for match in found if match), key=lambda match: int(match[2]))

    def parts() -> Iterator[SplitShard]:
        for match in matches:
            yield SplitShard(match[1], int(match[2]), int(match[3]), read_converted(source / match[0]))

    return classes, None, parts()
