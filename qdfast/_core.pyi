from collections.abc import Sequence
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer, Self, disjoint_base

PADDING: int
EXAMPLES: int
KINDS: tuple[str, str]
SIDE: int
LEVELS: tuple[str, ...]

def best_level() -> int: ...

@disjoint_base
class Columns:
    memory: dict[str, mmap]
    capacity: int
    level: int
    def __new__(cls, capacity: int, level: int) -> Self: ...
    def scan(self, data: Buffer, size: int, pos: int, keep_any: bool, raw: bool = False) -> int: ...
    @property
    def lines(self) -> int: ...
    def skip_line(self) -> None: ...
    def append(
        self,
        x: Buffer,
        y: Buffer,
        stroke_lengths: list[int],
        key_id: int,
        recognized: int,
        countrycode: bytes,
        timestamp: int,
        word: bytes,
    ) -> None: ...
    @property
    def counts(self) -> tuple[int, int, int]: ...
    @property
    def words(self) -> list[bytes]: ...
    @property
    def tally(self) -> dict[str, tuple[int, list[tuple[int, int]]]]: ...
    def copy_to(
        self,
        codes: NDArray[np.int32],
        points: int,
        strokes: int,
        drawings: int,
        x: NDArray[np.uint8],
        y: NDArray[np.uint8],
        stroke_offsets: NDArray[np.int64],
        drawing_offsets: NDArray[np.int64],
        key_id: NDArray[np.uint64],
        recognized: NDArray[np.uint8],
        countrycode: NDArray[np.uint16],
        timestamp: NDArray[np.int64],
        word_codes: NDArray[np.int32],
    ) -> None: ...
    def clear(self) -> None: ...

@disjoint_base
class Views:
    n: int
    offsets: tuple[NDArray[np.int64], NDArray[np.int64]]
    def __new__(
        cls,
        batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]] | Views],
        trusted: bool = False,
    ) -> Self: ...
    def deltas(
        self,
        view_of: NDArray[np.int32] | None,
        rows: NDArray[np.int64] | None,
        blank_zero: bool,
        mean: Sequence[float] | NDArray[np.float64] | None,
        std: Sequence[float] | NDArray[np.float64] | None,
        out: NDArray[Any],
        lengths: NDArray[np.int32],
    ) -> None: ...
    def ragged(
        self,
        max_len: int,
        blank_zero: bool,
        mean: Sequence[float] | NDArray[np.float64] | None,
        std: Sequence[float] | NDArray[np.float64] | None,
        offsets: NDArray[np.int64],
        out: NDArray[Any],
    ) -> None: ...
    def stats(
        self, group: NDArray[np.int32] | None, n_groups: int, max_len: int, blank_zero: bool
    ) -> NDArray[np.int64]: ...
    def hashes(self) -> NDArray[np.uint64]: ...
    def bitmaps(self, level: int, rows: NDArray[np.int64] | None, out: NDArray[np.uint8]) -> None: ...
    def take(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]: ...

def simplify_columns(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    stroke_offsets: NDArray[np.int64],
    drawing_offsets: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]] | int: ...
def simplify_lists(xs: list[list[float]], ys: list[list[float]]) -> tuple[bytes, bytes, list[int]] | int: ...
def parse_raw_strokes(
    text: bytes,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]] | None: ...

BINARY_REJECTS: tuple[str, ...]

def binary_whole(data: Buffer, size: int, limit: int) -> int: ...
def binary_plausible(data: Buffer, start: int, size: int) -> bool: ...
def binary_read(columns: Columns, data: Buffer, size: int, pos: int, keep_any: bool) -> tuple[str, int, int, int]: ...

@disjoint_base
class JsonLines:
    def feed(self, data: Buffer) -> None: ...
    @property
    def in_array(self) -> bool: ...
    @property
    def start(self) -> int: ...

CSV_FIELDS: tuple[str, ...]
CSV_ROOM: int

def csv_lines(
    data: Buffer, start: int, size: int, final: bool, delimiter: int, columns: Sequence[str], out: Buffer
) -> tuple[int, int]: ...
