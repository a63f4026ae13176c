"""Converts prepared drawings to other formats, and these formats to one another.

The result is a directory of files ``SPLIT-NUMBER-of-COUNT.SUFFIX``, one per shard and split, as Hugging Face's
``load_dataset`` and users of TensorFlow expect them. Formats without room for the word have a file per class instead:
``SPLIT/CLASS.bin`` and ``CLASS.npz``. ``converted.json`` lists the files by name and size, so that the next call
replaces these files and no others. ``classes.json``, the sorted list of classes, is written last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import orjson

from .._hints import needs
from .._quiet import import_tensorflow
from .._suggest import similar_path
from ..bitmaps import AnyDrawings, Bitmaps
from ..errors import DataError
from ..ndjson import format_ndjson, read_ndjson
from ..storage import names
from ..storage.directories import CONVERTED, output
from ..storage.files import Directory, only_writer, replacing
from ..storage.names import CLASS_FORMATS, CLASSES, CONVERT_FORMATS, MANIFEST, ONE_WAY_FORMATS, SPLITS, Split
from ..storage.progress import Progress
from .prepared import open_prepared

FORMAT = 1
_PLACES = tuple(f"{split}/" for split in SPLITS)  # directories of files per class
_NAME = re.compile(rf"({'|'.join(SPLITS)})-(\d{{5,}})-of-(\d{{5,}})\.({'|'.join(CONVERT_FORMATS)})")


class ConvertedFile(NamedTuple):
    """A file to write: its name in the directory, how many drawings it has, and what writes it to a path."""

    name: str
    drawings: int
    write: Callable[[Path], None]


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
            Google's form, which ``prepare`` reads with ``label="word"``. Of prepared data also "bin", Google's binary
            format, "sketch-rnn" (see ``formats.sketch_rnn``; the validation split is its ``valid``, and its ``test`` is
            empty), and "tfrecord-rnn" (see ``formats.rnn_tutorial``).
        log: called with one line at the end.

    Returns:
        The files with drawings.

    Raises:
        DataError: ``source`` is neither of these, or damaged; bitmaps as ndjson; ``out`` contains something else, or
            files that look like a conversion but are not from an earlier call; another process converts to it.
        OSError: a file cannot be read or written. Files are complete or do not exist.
    """
    if format not in (*CONVERT_FORMATS, *ONE_WAY_FORMATS):
        raise DataError(f"format is {format!r}: it must be one of {', '.join((*CONVERT_FORMATS, *ONE_WAY_FORMATS))}")
    source, out = Path(source), output(out, CONVERTED)
    if source.resolve() == out.resolve():
        raise DataError(f"{out}: source and output are the same directory")
    classes: Sequence[str]
    total: int | None
    if format in CLASS_FORMATS:
        classes, total, files = _by_class(source, format)
    else:
        classes, total, parts = _prepared(source) if (source / MANIFEST).exists() else _converted(source)
        files = _by_shard(parts, classes, format, _writer(format))
    paths = []
    sizes = {CLASSES: len(about := orjson.dumps(classes))}
    with only_writer(out, "converting to"), Progress("convert", total) as progress:
        there = Directory(out)
        suffix = CLASS_FORMATS.get(format, "")
        earlier = _earlier(there, {f"{place}{name}{suffix}" for name in classes for place in ("", *_PLACES)})
        for place in ("", *_PLACES):
            if (out / place).is_dir():
                Directory(out / place).clean()
        with ExitStack() as complete:
            for file in files:
                path = out / file.name
                path.parent.mkdir(exist_ok=True)
                temporary = complete.enter_context(replacing(path))
                file.write(temporary)
                sizes[file.name] = temporary.stat().st_size
                paths.append(path)
                progress.update(file.drawings)
            there.remove(earlier)
            there.write(names.CONVERTED, orjson.dumps({"format": FORMAT, "files": sizes}))
        there.write(CLASSES, about)
    log(f"{out}: {progress.done:,.0f} drawings in {len(paths)} files")
    return paths


def _earlier(out: Directory, names: Iterable[str]) -> list[str]:
    """The files of an earlier call. DataError: files that only look like them or have ``names``, or were changed."""
    ours = _listed(out)
    found = {name for name in out.sizes() if name == CLASSES or _NAME.fullmatch(name)}
    found |= {name for name in (*ours, *names) if (out.path / name).is_file()}
    for name in sorted(found):
        if ours.get(name) != (out.path / name).stat().st_size:
            raise DataError(f"{out.path / name}: not written by convert, or changed since: will not replace it")
    return sorted(found)


def _listed(out: Directory) -> Mapping[str, int]:
    """The size in bytes of each file that an earlier call has written, by name."""
    try:
        about = orjson.loads(out.read(names.CONVERTED))
        if about["format"] != FORMAT:
            raise ValueError(f"it has format {about['format']}, but this version reads format {FORMAT}")
        return dict(about["files"])
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{out.path / names.CONVERTED}: not written by qdfast, or damaged: {e}") from e


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


def _by_shard(
    parts: Iterable[SplitShard], classes: Sequence[str], format: str, write: Callable[..., None]
) -> Iterator[ConvertedFile]:
    """A file for each shard and split."""
    suffix = "tfrecord" if format == "tfrecord-rnn" else format
    for part in parts:
        name = f"{part.split}-{part.number:05d}-of-{part.of:05d}.{suffix}"
        if format in ONE_WAY_FORMATS:
            _check_strokes(part.drawings, format)
        yield ConvertedFile(name, len(part.drawings), partial(write, drawings=part.drawings, classes=classes))


def _by_class(source: Path, format: str) -> tuple[Sequence[str], int, Iterator[ConvertedFile]]:
    """The classes, the number of drawings, and a file for each class, or for each of its splits."""
    if not (source / MANIFEST).exists():
        raise DataError(f"{source}: not a prepared directory: only these can be converted to {format}")
    data = open_prepared(source)
    for name in data.classes:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise DataError(f"{source}: the class {name!r} cannot be the name of a file, which {format} needs")

    def files() -> Iterator[ConvertedFile]:
        splits = {split: data.rows(cast(Split, split)) for split in SPLITS}
        for code, name in enumerate(data.classes):
            found: dict[str, AnyDrawings] = {}
            for split, rows in splits.items():
                if rows.kind != "strokes":
                    raise DataError(f"bitmaps have no strokes and cannot be written as {format}")
                found[split] = rows.drawings(np.flatnonzero(rows.labels == code))
            yield from _class_files(name, found, format)

    return data.classes, data.manifest["drawings"], files()


def _class_files(name: str, splits: Mapping[str, Any], format: str) -> Iterator[ConvertedFile]:
    from ..formats import google_binary, sketch_rnn

    if format == "bin":
        for split, drawings in splits.items():
            if len(drawings):
                write = partial(google_binary.write_binary, drawings=drawings)
                yield ConvertedFile(f"{split}/{name}.bin", len(drawings), write)
        return
    train, validation = splits["train"], splits["validation"]
    arrays = {"train": train, "valid": validation, "test": validation[:0]}
    yield ConvertedFile(
        f"{name}.npz", len(train) + len(validation), partial(sketch_rnn.write_sketch_rnn, splits=arrays)
    )


def _functions(format: str) -> tuple[Callable[..., None], Callable[[Path], AnyDrawings]]:
    """The functions that write and read ``format``. They are imported only now, with the libraries that they need."""
    if format == "ndjson":
        return _write_ndjson, lambda path: read_ndjson(path, recognized="any")
    if format == "tfrecord":
        with needs("train"):
            import_tensorflow()
        from ..formats import tfrecord

        return tfrecord.write_tfrecord, tfrecord.read_tfrecord
    from ..formats import arrow

    if format == "arrow":
        return arrow.write_arrow, arrow.read_arrow
    return arrow.write_parquet, arrow.read_parquet


def _writer(format: str) -> Callable[..., None]:
    """The function that writes ``format``, imported as late as in ``_functions``."""
    if format != "tfrecord-rnn":
        return _functions(format)[0]
    with needs("train"):
        import_tensorflow()
    from ..formats import rnn_tutorial

    return rnn_tutorial.write_rnn_tutorial


def _check_strokes(drawings: AnyDrawings, format: str) -> None:
    if isinstance(drawings, Bitmaps):
        raise DataError(f"bitmaps have no strokes and cannot be written as {format}")


def _write_ndjson(path: Path, drawings: Any, classes: Sequence[str]) -> None:
    _check_strokes(drawings, "ndjson")
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
        what = f"no such directory{similar_path(source)}"
        if source.exists():
            what = f"neither prepared ({MANIFEST}) nor converted ({CLASSES})"
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
