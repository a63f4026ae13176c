"""Reads bitmaps of 28 x 28 pixels from .npy files, also compressed ones and those in archives, and from pictures."""

from __future__ import annotations

import numpy as np

from ..bitmaps import NPY_ERRORS, Bitmaps, check_values, read_bitmaps, why_not_array
from ..errors import DataError
from ..storage.source_files import SourceFile
from ..storage.streams import Peeked, in_memory, unwrap


def read_bitmap_file(source: SourceFile) -> Bitmaps:
    """The bitmaps of a file, with the class that its name stands for.

    Raises:
        DataError: not a file of bitmaps. OSError: the file cannot be read.
    """
    if source.form == "picture":
        from .picture_files import read_pictures

        return Bitmaps(read_pictures(source.pictures), words=(source.label,))
    with source.open() as file:
        stream = Peeked(file)
        _, inner = unwrap(stream, source.name)
        if source.member is None and inner is stream:
            return read_bitmaps(source.path)
        whole = in_memory(inner, source.name)
    try:
        pixels = np.lib.format.read_array(whole, allow_pickle=False)
    except NPY_ERRORS as e:
        raise DataError(f"{source.name}: {why_not_array(e)}") from e
    if not pixels.size:
        raise DataError(f"{source.name}: no drawings: an array of shape {pixels.shape}")
    try:
        bitmaps = Bitmaps(pixels, words=(source.label,))
        check_values(bitmaps.pixels)
    except DataError as e:
        raise DataError(f"{source.name}: {e}") from e
    return bitmaps
