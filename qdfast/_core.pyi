from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

PADDING: int
EXAMPLES: int
KINDS: tuple[str, str]

class Columns:
    capacity: int
    def __init__(self, capacity: int) -> None: ...
    def scan(self, data: Buffer, size: int, pos: int, keep_any: bool) -> int: ...
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
    def take(self) -> tuple[dict[str, Any], list[bytes], dict[str, tuple[int, list[tuple[int, int]]]]]: ...

class Views:
    n: int
    def __init__(
        self,
        batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]],
    ) -> None: ...
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
    def take(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]: ...
