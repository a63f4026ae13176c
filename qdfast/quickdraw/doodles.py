"""Procedural doodles: synthetic drawings like those of *Quick, Draw!*, for tests and demonstrations.

``write_doodles`` writes files like Google's simplified ones: the same keys and format, similar lengths, and enough poor
and ambiguous drawings to make classification non-trivial.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import orjson

from ..errors import DataError
from ..storage.files import replacing
from ..storage.progress import Progress
from ..strokes import simplify
from .doodle_pen import Pen, Stroke, tremble
from .doodle_shapes import SHAPES

CLASSES: tuple[str, ...] = tuple(sorted(SHAPES))
"""The classes of doodles, sorted. All of them are classes of *Quick, Draw!*."""

MAX_PER_CLASS = 1 << 22  # more drawings of a class would not have distinct key_ids

Drawing = list[list[list[int]]]  # [[xs, ys], ...]

_BLOCK = 64  # drawings simplified together
_POOR = 0.075
# Frequencies similar to those of real drawings.
_COUNTRIES = (
    *(27 * ("US",) + 4 * ("GB",) + 2 * ("CA", "DE", "RU", "AU")),
    *("BR", "FI", "SE", "CZ", "FR", "IT", "KR", "PL", "TH", "PH", "SA", "HU", "NL", "ID", "RO"),
    *("SK", "IN", "VN", "JP", "AE", "TW", "UA", "MY", "NO", "TR", "NZ", "HR", "HK", "IE"),
)
_FIRST_DAY = datetime(2017, 1, 1, tzinfo=timezone.utc)
_DAYS = 90


def doodle(name: str, rng: np.random.Generator) -> Drawing:
    """One drawing of class ``name`` in Google's simplified form: ``[[xs, ys], ...]``, integers 0..255.

    Raises:
        DataError: an unknown class.
    """
    _check([name])
    return _simplified([_sketch(name, rng)[0]])[0]


def write_doodles(
    out_dir: str | os.PathLike[str],
    *,
    classes: Iterable[str] | None = None,
    per_class: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Path]:
    """Write ``<class>.ndjson`` for each class, in exactly the format of Google's simplified files.

    A file depends only on ``seed`` and its class. A larger ``per_class`` appends to it. All drawings have different
    ``key_id``, also across classes and seeds below 131072.

    Args:
        out_dir: directory, created if it does not exist. Only files that this function wrote with the same ``seed`` are
            replaced.
        classes: some of ``CLASSES``. Default: all.
        per_class: number of drawings in each file.
        seed: 0 or more.
        progress: shows the progress. Default: a line on stderr, if that is a terminal.

    Returns:
        The files, in the order of ``classes``.

    Raises:
        DataError: an unknown class, a number out of range, or an existing file with other drawings. Nothing is written.
        OSError: a file cannot be written.
    """
    names = list(CLASSES if classes is None else dict.fromkeys(classes))
    _check(names)
    if not 0 <= per_class <= MAX_PER_CLASS:
        raise DataError(f"per_class must be 0 to {MAX_PER_CLASS}, not {per_class}")
    if seed < 0:
        raise DataError(f"seed must be 0 or more, not {seed}")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    paths = {name: out / f"{name}.ndjson" for name in names}
    for name, path in paths.items():
        if path.exists() and not _is_ours(path, name, seed):
            raise DataError(f"{path}: contains other drawings than the doodles of this seed: will not replace it")
    with progress or Progress("doodles", per_class * len(names)) as shown:
        for name, path in paths.items():
            with replacing(path) as temporary, temporary.open("wb") as file:
                for block in _lines(name, per_class, seed):
                    file.writelines(block)
                    shown.update(len(block), name)
    return list(paths.values())


def _is_ours(path: Path, name: str, seed: int) -> bool:
    """Whether a file is empty, or its first line is that of the doodles with this seed."""
    [[ours]] = _lines(name, 1, seed)
    with path.open("rb") as file:
        return file.readline(len(ours)) in (b"", ours)


def _check(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in SHAPES]
    if unknown:
        raise DataError(f"no doodles of {', '.join(map(repr, unknown))}; the classes are {', '.join(CLASSES)}")


def _lines(name: str, n: int, seed: int) -> Iterator[list[bytes]]:
    """The first ``n`` lines of a class, in blocks."""
    entropy = [seed, *name.encode()]
    for first in range(0, n, _BLOCK):
        indices = range(first, min(first + _BLOCK, n))
        seeds = (np.random.SeedSequence(entropy, spawn_key=(i,)) for i in indices)
        rngs = [np.random.Generator(np.random.PCG64(s)) for s in seeds]
        sketches = [_sketch(name, rng) for rng in rngs]
        drawings = _simplified([strokes for strokes, _ in sketches])
        yield [
            orjson.dumps(
                {
                    "word": name,
                    "countrycode": _COUNTRIES[int(where * len(_COUNTRIES))],
                    "timestamp": _timestamp(when),
                    "recognized": guess > (0.55 if poor else 0.033),
                    "key_id": _key_id(name, i, seed),
                    "drawing": drawing,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for i, drawing, (_, poor), (where, when, guess) in zip(
                indices, drawings, sketches, (rng.random(3).tolist() for rng in rngs), strict=True
            )
        ]


def _timestamp(when: float) -> str:
    """A timestamp in Google's format: five decimals, without trailing zeros."""
    tick = 1 + int(when * (_DAYS * 86400 * 100_000 - 1))
    tick += tick % 100_000 == 0  # Google's format of whole seconds is not known
    second = _FIRST_DAY + timedelta(seconds=tick // 100_000)
    return f"{second:%Y-%m-%d %H:%M:%S}." + f"{tick % 100_000:05d}".rstrip("0") + " UTC"


def _key_id(name: str, index: int, seed: int) -> str:
    """A key_id in Google's range, 2**52 + 0..2**51: class, seed and index, mixed by invertible steps."""
    mask = (1 << 51) - 1
    key = (zlib.crc32(name.encode()) & 0xFFF) << 39 | (seed & 0x1FFFF) << 22 | index
    for factor in (0x2545F4914F6CD, 0x5851F42D4C957):
        key = (key * factor) & mask
        key ^= key >> 26
    return str((1 << 52) + key)


def _sketch(name: str, rng: np.random.Generator) -> tuple[list[Stroke], bool]:
    """The raw strokes of a drawing, and whether it is a poor one."""
    pen = Pen(rng)
    poor = pen.maybe(_POOR)
    mishap = pen.random() if poor else 1.0
    if mishap < 0.06:  # something else altogether
        name = CLASSES[pen.count(0, len(CLASSES) - 1)]
    SHAPES[name](pen)
    strokes = pen.strokes
    if pen.maybe(0.018):
        y, rx, ry = pen.between(-0.2, 0.2), pen.between(0.3, 0.7), pen.between(0.2, 0.5)
        pen.scribble(0, y, rx, ry, pen.count(6, 26))
    if 0.06 <= mishap < 0.17:  # crossed out
        pen.scribble(0, 0, 0.9, 0.5, pen.count(4, 12))
    elif 0.17 <= mishap < 0.5:  # time was up
        del strokes[math.ceil(pen.between(0.3, 0.75) * len(strokes)) :]
        strokes[-1] = strokes[-1][: max(2, int(len(strokes[-1]) * pen.between(0.4, 1)))]
    elif 0.5 <= mishap < 0.62:  # never lifted
        strokes[:] = [np.concatenate(strokes)]
    if len(strokes) > 2 and pen.maybe(0.12):  # something was forgotten
        del strokes[pen.count(1, len(strokes) - 1)]
    _reorder(pen)
    return tremble(pen, wild=0.62 <= mishap < 1), poor


def _reorder(pen: Pen) -> None:
    """Change the order and direction of strokes: most people draw large parts first, but not all."""
    strokes = pen.strokes
    way = pen.random()
    if way < 0.3:
        keys = [k + pen.between(0, 2.5) for k in range(len(strokes))]
        strokes[:] = [s for _, s in sorted(zip(keys, strokes, strict=True), key=lambda pair: pair[0])]
    elif way < 0.38:
        strokes.reverse()
    reverse = pen.between(0, 0.5)
    strokes[:] = [s[::-1] if pen.maybe(reverse) else s for s in strokes]
    if pen.maybe(0.04):  # once more over the same line
        strokes.append(strokes[pen.count(0, len(strokes) - 1)])


def _simplified(sketches: Sequence[Sequence[Stroke]]) -> list[Drawing]:
    drawings = simplify([[(stroke.real, stroke.imag) for stroke in strokes] for strokes in sketches])
    return [[[x.tolist(), y.tolist()] for x, y in drawing] for drawing in drawings]
