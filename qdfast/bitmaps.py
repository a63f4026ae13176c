"""``Bitmaps``: drawings given only as pixels, as in Google's ``numpy_bitmap`` files."""

from __future__ import annotations

import math
import os
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from ._arrays import bitmap_array, checked_words, column, join_words, listed, row_numbers
from ._core import SIDE
from .drawings import Drawings, concat
from .errors import DataError
from .parse_report import ParseReport
from .pictures import Pictured
from .storage.class_names import label_of
from .storage.names import BITMAP_SUFFIX
from .storage.progress import counted

NPY_ERRORS = (ValueError, EOFError, OverflowError, MemoryError, SyntaxError, TypeError, tokenize.TokenError)
"""What NumPy raises for a damaged .npy file: its header is Python."""
_SAMPLE = 1000  # drawings
_MOST_INK = 0.6 * 255  # mean of the pixels; Google's bitmaps have 0.2 * 255, inverted ones 0.8 * 255


class Bitmaps(Pictured):
    """N drawings of 28 x 28 pixels, with their classes. ``Drawings.bitmaps`` renders such pixels.

    Args:
        pixels: uint8 (N, 28, 28) or (N, 784), also with further dimensions of 1 as in (N, 28, 28, 1); rows from the
            top, 0 is paper and 255 is ink. Shared, not copied.
        word_codes, words: the classes, as in ``Drawings``.

    Raises:
        DataError: invalid arrays.

    >>> import numpy as np
    >>> import qdfast
    >>> d = qdfast.Bitmaps(np.zeros((2, 784), np.uint8), words=("cat",))
    >>> d
    Bitmaps(2 drawings; cat)
    >>> d[0].shape, len(d[:1])
    ((28, 28), 1)
    """

    pixels: NDArray[np.uint8]
    words: tuple[str, ...]
    report: ParseReport | None = None  # as in ``Drawings``; None because no lines were read

    def __init__(
        self, pixels: NDArray[np.uint8], *, word_codes: ArrayLike | None = None, words: Sequence[str] = ("",)
    ) -> None:
        pixels = np.asarray(pixels)
        shape = tuple(side for side in pixels.shape[1:] if side != 1)
        if pixels.dtype != np.uint8 or shape not in ((SIDE, SIDE), (SIDE * SIDE,)):
            wanted = f"uint8 (n, {SIDE}, {SIDE}) or (n, {SIDE * SIDE})"
            raise DataError(f"not bitmaps: {pixels.dtype} {pixels.shape}, not {wanted}{_how_to_convert(pixels)}")
        self.pixels = np.ascontiguousarray(pixels.reshape(-1, SIDE, SIDE)).view()
        self.pixels.flags.writeable = False
        codes = np.zeros(len(pixels), np.int32) if word_codes is None else word_codes
        self.word_codes: NDArray[np.int32] = column("word_codes", codes, np.dtype(np.int32))
        self.words = checked_words(words)
        if len(self.word_codes) != len(self):
            raise DataError(f"word_codes has {len(self.word_codes)} values for {len(self)} drawings")
        if len(self) and not 0 <= self.word_codes.min() <= self.word_codes.max() < len(self.words):
            raise DataError(f"word_codes are not all in 0..{len(self.words) - 1}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Checks the arrays, and makes them read-only again."""
        Bitmaps.__init__(self, **state)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def key_id(self) -> NDArray[np.uint64]:
        """uint64 (N,): 0, which means not given: these files have no ids."""
        return np.zeros(len(self), np.uint64)

    @property
    def word(self) -> NDArray[np.object_]:
        """str (N,), dtype object: the class of each drawing, "" where not given."""
        return np.array(self.words, dtype=object)[self.word_codes]

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice | ArrayLike) -> Bitmaps: ...
    def __getitem__(self, index: Any) -> Any:
        """An integer gives one drawing as uint8 (28, 28); a slice, mask or index array gives ``Bitmaps``."""
        if isinstance(index, int | np.integer):
            return self.pixels[range(len(self))[int(index)]]
        rows = index if isinstance(index, slice) else row_numbers(index, len(self))
        return Bitmaps(self.pixels[rows], word_codes=self.word_codes[rows], words=self.words)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(self.pixels)

    def __repr__(self) -> str:
        return f"Bitmaps({counted(len(self), 'drawing')}{listed(self.words)})"

    def with_word(self, word: str) -> Bitmaps:
        """The same drawings, all of class ``word``."""
        return Bitmaps(self.pixels, words=(word,))

    def bitmaps(
        self, *, index: slice | ArrayLike | None = None, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """uint8 (N, 28, 28): a copy of the pixels. Arguments and errors as for ``Drawings.bitmaps``."""
        pixels = self.pixels if index is None else self.pixels[row_numbers(index, len(self))]
        out = bitmap_array(len(pixels), out)
        out[:] = pixels
        return out

    def hashes(self) -> NDArray[np.uint64]:
        """uint64 (N,): a hash of the pixels. Equal drawings have equal hashes, on all platforms and releases."""
        return np.fromiter(map(xxhash.xxh3_64_intdigest, self.pixels), np.uint64, len(self))


def _how_to_convert(pixels: NDArray[Any]) -> str:
    """What to do with other pixels, for messages."""
    if pixels.shape in ((SIDE, SIDE), (SIDE * SIDE,)):
        return ": for a single bitmap, pass pixels[None]"
    if pixels.ndim < 2 or math.prod(pixels.shape[1:]) != SIDE * SIDE:
        turned = pixels.ndim == 2 and len(pixels) == SIDE * SIDE
        return ": pixels.T has this shape" if turned else f": a bitmap has {SIDE} x {SIDE} pixels of one value each"
    if pixels.dtype == bool:
        return ": convert with pixels.astype(np.uint8) * 255"
    if pixels.dtype.kind == "f" and pixels.size and pixels.min() >= 0 and pixels.max() <= 1:
        return ": convert with (pixels * 255).round().astype(np.uint8)"
    if pixels.dtype.kind in "iuf" and pixels.size and pixels.min() >= 0 and pixels.max() <= 255:
        return ": convert with pixels.astype(np.uint8)"
    return ""


AnyDrawings: TypeAlias = Drawings | Bitmaps


def concat_any(parts: Sequence[AnyDrawings]) -> AnyDrawings:
    """Concatenate batches that are all ``Drawings`` or all ``Bitmaps``; see ``concat``.

    Raises:
        DataError: both kinds are given.
    """
    bitmaps = [p for p in parts if isinstance(p, Bitmaps)]
    strokes = [p for p in parts if isinstance(p, Drawings)]
    if not bitmaps:
        return concat(strokes)
    if strokes:
        raise DataError("strokes and bitmaps cannot be joined")
    if len(bitmaps) == 1:
        return bitmaps[0]
    codes, words = join_words([(p.word_codes, p.words) for p in bitmaps])
    return Bitmaps(np.concatenate([p.pixels for p in bitmaps]), word_codes=codes, words=words)


def read_bitmaps(path: str | os.PathLike[str]) -> Bitmaps:
    """Read a .npy file of bitmaps, as Google publishes them.

    Args:
        path: a file of uint8 (N, 784) or (N, 28, 28), also with further dimensions of 1 as in (N, 28, 28, 1). Its name
            is the class: "cat.npy" -> "cat".

    Returns:
        The drawings, memory-mapped.

    Raises:
        DataError: not a .npy file, a truncated one, no drawings, another dtype or shape, values of only 0 and 1, or
            white paper (inverted pixels).
        OSError: the file cannot be read.

    >>> import numpy as np, qdfast, tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "cat.npy")
    ...     np.save(path, np.zeros((3, 784), np.uint8))
    ...     qdfast.read_bitmaps(path)
    Bitmaps(3 drawings; cat)
    """
    if not isinstance(path, str | os.PathLike):
        if isinstance(path, np.ndarray):
            raise DataError("an array, not a path: use Bitmaps(pixels)")
        raise DataError(f"not the path of a {BITMAP_SUFFIX} file: {type(path).__name__}")
    path = Path(path)
    try:
        with np.errstate(over="ignore"):  # a damaged shape
            pixels = np.lib.format.open_memmap(path, mode="r")  # which never unpickles
    except NPY_ERRORS as e:
        raise DataError(f"{path}: {why_not_array(e)}") from e
    if not pixels.size:
        raise DataError(f"{path}: no drawings: the array has shape {pixels.shape}")
    try:
        bitmaps = Bitmaps(pixels.view(np.ndarray), words=(label_of(path),))
        check_values(bitmaps.pixels)
    except DataError as e:
        raise DataError(f"{path}: {e}") from e
    return bitmaps


def why_not_array(error: Exception) -> str:
    """Why a file of bitmaps is refused, in one line. ``error``: what NumPy raised when it read the file."""
    message = " ".join(str(error).split())
    if "bject" in message and ("mapped" in message or "pickle" in message):
        return "an array of Python objects, not of numbers: only a pickle could read it"
    return f"not a {BITMAP_SUFFIX} file, or cut short: {message}"


def check_values(pixels: NDArray[np.uint8]) -> None:
    """Refuse pixels on another scale than 0 (paper) to 255 (ink). A sample is read, and all only if it is suspicious.

    Raises:
        DataError: values of only 0 and 1, or more ink than paper.
    """
    sample = pixels[:: -(-len(pixels) // _SAMPLE)]
    if sample.max() <= 1 and pixels.max() == 1:
        raise DataError("no value above 1: bitmaps are 0 (paper) to 255 (ink): multiply by 255")
    if sample.mean() > _MOST_INK and pixels.mean() > _MOST_INK:
        raise DataError("more ink than paper: bitmaps are 0 (paper) to 255 (ink): invert them with 255 - pixels")
