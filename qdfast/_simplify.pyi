import numpy as np
from numpy.typing import NDArray

def simplify_columns(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    stroke_offsets: NDArray[np.int64],
    drawing_offsets: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]] | int: ...
def simplify_lists(xs: list[list[float]], ys: list[list[float]]) -> tuple[bytes, bytes, list[int]] | int: ...
