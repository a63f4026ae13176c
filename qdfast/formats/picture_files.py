"""Turns pictures (PNG, JPEG, …) into bitmaps like Google's: 28 x 28 pixels, a drawing in white on black at the centre.

The border tells the color of the paper. Lines are made as wide as Google's, so that thin lines of a large picture
survive.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._core import SIDE
from .._hints import needs
from ..errors import DataError

with needs("pictures"):
    from PIL import Image, ImageFilter, ImageOps

_CANVAS = 304  # units on a side of Google's canvas, 24 of them margin
_DRAWING = 271  # its larger side with the width of lines: 255 + 16
_LINE = 16
_INK = 64  # of 255: darker is noise of the paper or of JPEG


def read_pictures(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Bitmaps of pictures.

    Returns:
        uint8 (N, 28, 28), 0 is paper and 255 is ink.

    Raises:
        DataError: a file that is not a picture, or a blank one. The message names it.
        OSError: a file cannot be read.
    """
    out = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    for i, path in enumerate(paths):
        out[i] = _bitmap(_ink(path), path)
    return out


def _ink(path: Path) -> Image.Image:
    """The picture in gray, with 0 for the paper. A transparent picture is put on paper of the other color."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise DataError(f"{path}: a picture of too many pixels: make it smaller") from e
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise DataError(f"{path}: a damaged picture, or of an unknown kind: {' '.join(str(e).split())}") from e
    alpha = np.asarray(picture.getchannel("A"), np.float32) / 255
    gray: NDArray[np.float32] = np.asarray(picture.convert("L"), np.float32)
    if (alpha < 1).any():
        opaque = float((gray * alpha).sum() / max(float(alpha.sum()), 1e-6))
        gray = np.asarray(gray * alpha + (0 if opaque > 127 else 255) * (1 - alpha), np.float32)
    paper = float(np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])))
    ink = paper - gray if paper > 127 else gray - paper
    return Image.fromarray(np.clip(ink, 0, 255).astype(np.uint8))


def _bitmap(ink: Image.Image, path: Path) -> NDArray[np.uint8]:
    pixels = np.asarray(ink)
    strongest = int(pixels.max(initial=0))
    if strongest < _INK:
        raise DataError(f"{path}: a blank picture: no drawing on it")
    marked = pixels > max(strongest // 3, _INK // 2)
    rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    drawing = ink.crop(box).point([min(255, value * 255 // strongest) for value in range(256)])
    width, height = drawing.size
    scale = _DRAWING / max(width, height)
    line = _line_width(marked[box[1] : box[3], box[0] : box[2]]) * scale
    grow = max(0, round((_LINE - line) / 2)) if line < _LINE / 2 else 0
    scale *= (_DRAWING - 2 * grow) / _DRAWING
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(drawing.resize(size, Image.Resampling.BILINEAR), ((_CANVAS - size[0]) // 2, (_CANVAS - size[1]) // 2))
    if grow:
        canvas = canvas.filter(ImageFilter.MaxFilter(2 * grow + 1))
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), np.uint8)


def _line_width(marked: NDArray[np.bool_]) -> float:
    """The mean width of lines: twice their area by the length of their edges, which steps overrate by 4 / pi."""
    padded = np.pad(marked, 1)
    edges = int((padded[1:] != padded[:-1]).sum()) + int((padded[:, 1:] != padded[:, :-1]).sum())
    return 2 * int(marked.sum()) / max(edges * np.pi / 4, 1)
