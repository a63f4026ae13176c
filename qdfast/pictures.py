"""Draws strokes and bitmaps as pictures: SVG, or PNG through Pillow."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._hints import needs
from ._printable import printable
from .errors import DataError
from .storage.files import replacing

if TYPE_CHECKING:
    from PIL import Image

Strokes: TypeAlias = "list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]"
"""One drawing: a list of (x, y), each uint8 (points of the stroke,)."""

Picture: TypeAlias = "Strokes | NDArray[np.uint8]"
"""Strokes, or the pixels of a bitmap, uint8 (height, width), 0 black."""

COUNT, COLUMNS, SIZE = 40, 8, 96  # drawings in a gallery, drawings in a row, pixels of a drawing

_VIEW = (-8, -8, 272, 272)  # left, top, width and height of the view of a drawing's coordinates 0..255
_PEN = 6  # width of a stroke in coordinates
_PAPER, _INK, _GREY = "#ffffff", "#202124", "#5f6368"  # a sheet has a background, to be readable on any page
_GAP, _CAPTION, _FONT = 12, 18, 11  # pixels: between drawings, height of a caption's line, font size
_LETTERS = 24  # longest caption; longer ones are cut
_DENSITY = 2  # pixels of a PNG per pixel of the sheet
_SUBPIXELS = 4  # per pixel and side, of which the grey of a pixel is the mean
_LARGEST = 1 << 16  # longest side of a PNG in pixels

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Pictured(ABC):
    """A batch of drawings that can be shown as pictures."""

    @property
    @abstractmethod
    def word(self) -> NDArray[np.object_]:
        """str (N,), dtype object: the class of each drawing, "" where not given."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: Any) -> Any: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Any]: ...

    def svg(self, *, columns: int = COLUMNS, size: int = SIZE) -> str:
        """All drawings as an SVG document: ``columns`` in a row, each ``size`` pixels wide, with its class below."""
        return Sheet(list(self), self.word.tolist(), columns, size).svg()

    def save_gallery(
        self, path: str | os.PathLike[str], *, count: int = COUNT, columns: int = COLUMNS, size: int = SIZE
    ) -> None:
        """Write some drawings, spread evenly over all, as a picture. The selection is always the same.

        Args:
            path: a .svg file, or a .png file (needs Pillow). It is replaced completely or not at all.
            count: number of drawings.
            columns, size: as for ``svg``.

        Raises:
            DataError: another suffix, no drawings, or too many of them for a PNG.
            OSError: the file cannot be written.
        """
        shown = self[spread(len(self), count)]
        Sheet(list(shown), shown.word.tolist(), columns, size).save(path)

    def _repr_html_(self) -> str:
        shown = self[:20]
        return page(list(shown), shown.word.tolist(), repr(self))


def page(pictures: Sequence[Picture], titles: Sequence[str], text: str) -> str:
    """Pictures with their titles, and ``text`` below, as HTML for a notebook."""
    images = "".join(svg(picture, title=title) for picture, title in zip(pictures, titles, strict=True))
    return f"<div>{images}<p>{_text(text)}</p></div>"


def spread(n: int, count: int) -> NDArray[np.int64]:
    """int64 (min(n, count),): indices below ``n``, evenly spread from first to last."""
    return np.linspace(0, n - 1, min(n, count)).round().astype(np.int64)


def svg(picture: Picture, size: int = SIZE, title: str = "", at: tuple[int, int] = (0, 0)) -> str:
    """One drawing as an ``<svg>`` element of ``size`` pixels. Strokes have the colour of the text around."""
    view, body = _bitmap(picture) if isinstance(picture, np.ndarray) else (_VIEW, _lines(picture))
    name = f"<title>{_text(title)}</title>" if title else ""
    place = 'x="{}" y="{}" '.format(*at) if at != (0, 0) else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {place}width="{size}" height="{size}" '
        f'viewBox="{" ".join(map(str, view))}">{name}{body}</svg>'
    )


def _lines(strokes: Strokes) -> str:
    lines = [" ".join(f"{a},{b}" for a, b in zip(x.tolist(), y.tolist(), strict=True)) for x, y in strokes]
    body = "".join(f'<polyline points="{points}"/>' for points in lines)
    pen = f'stroke="currentColor" stroke-width="{_PEN}" stroke-linecap="round" stroke-linejoin="round"'
    return f'<g fill="none" {pen}>{body}</g>'


def _bitmap(pixels: NDArray[np.uint8]) -> tuple[tuple[int, int, int, int], str]:
    height, width = pixels.shape
    data = b64encode(png(pixels)).decode()
    image = f'<image width="{width}" height="{height}" style="image-rendering:pixelated" '
    return (0, 0, width, height), image + f'href="data:image/png;base64,{data}"/>'


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode ``pixels``, uint8 (height, width), 0 is black, as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each row starts with the number of its filter; 0 is none
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def check_suffix(path: str | os.PathLike[str]) -> Path:
    """``path`` as a ``Path``. DataError: its suffix is not that of a gallery."""
    path = Path(path)
    if path.suffix.lower() not in (".svg", ".png"):
        raise DataError(f"{path}: a gallery must be a .svg or .png file")
    return path


@dataclass(frozen=True)
class Sheet:
    """Pictures in rows, each above its caption, if that is not "".

    Raises:
        DataError: ``columns`` or ``size`` is not positive.
    """

    pictures: Sequence[Picture]
    captions: Sequence[str]
    columns: int = COLUMNS
    size: int = SIZE

    def __post_init__(self) -> None:
        for name, value in (("columns", self.columns), ("size", self.size)):
            if value < 1:
                raise DataError(f"{name} is {value}: it must be at least 1")

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height in pixels."""
        columns = min(self.columns, len(self.pictures))
        rows = -(-len(self.pictures) // self.columns)
        return _GAP + columns * (self.size + _GAP), _GAP + rows * self._row

    @property
    def _row(self) -> int:
        return self.size + (_CAPTION if any(self.captions) else 0) + _GAP

    def _cells(self) -> Iterator[tuple[int, int, Picture, str]]:
        """Left, top, picture and caption of each cell."""
        for i, (picture, caption) in enumerate(zip(self.pictures, self.captions, strict=True)):
            row, column = divmod(i, self.columns)
            yield _GAP + column * (self.size + _GAP), _GAP + row * self._row, picture, _shortened(caption)

    def _font_size(self, caption: str) -> float:
        """Font size in pixels: as large as the caption's width allows. A letter is 0.55 times as wide as high."""
        return round(min(_FONT, (self.size + _GAP) / (0.55 * max(len(caption), 1))), 2)

    def svg(self) -> str:
        """The sheet as an SVG document."""
        width, height = self.extent
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" color="{_INK}" font-family="sans-serif" text-anchor="middle">',
            f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>',
        ]
        for left, top, picture, caption in self._cells():
            out.append(svg(picture, self.size, at=(left, top)))
            if caption:
                x, y = left + self.size / 2, top + self.size + _FONT
                font = f'font-size="{self._font_size(caption)}" fill="{_GREY}"'
                out.append(f'<text x="{x:g}" y="{y}" {font}>{_text(caption)}</text>')
        return "\n".join([*out, "</svg>\n"])

    def image(self) -> Image.Image:
        """The sheet as an RGB image, ``_DENSITY`` times as large."""
        with needs("pictures"):
            from PIL import Image, ImageDraw

        width, height = self.extent
        sheet = Image.new("RGB", (width * _DENSITY, height * _DENSITY), _PAPER)
        text = ImageDraw.Draw(sheet)
        side = self.size * _DENSITY
        for left, top, picture, caption in self._cells():
            at = left * _DENSITY, top * _DENSITY
            if isinstance(picture, np.ndarray):
                sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), at)
            else:
                sheet.paste(_INK, at, _ink(picture, side))
            if caption:
                x, y = left + self.size / 2, top + self.size + _FONT
                font = _font(self._font_size(caption) * _DENSITY)
                text.text((x * _DENSITY, y * _DENSITY), caption, _GREY, font, anchor="ms")
        return sheet

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sheet, completely or not at all, in the format of the suffix of ``path``.

        Raises:
            DataError: a suffix other than .svg and .png, no pictures, or too many of them for a PNG.
            OSError: the file cannot be written.
        """
        path = check_suffix(path)
        if not self.pictures:
            raise DataError(f"{path}: no drawings to show")
        if path.suffix.lower() == ".svg":
            with replacing(path) as temporary:
                temporary.write_text(self.svg(), encoding="utf-8")
            return
        if max(self.extent) * _DENSITY >= _LARGEST:
            raise DataError(f"{path}: {len(self.pictures):,} drawings are too many for a PNG: show fewer, or write SVG")
        encoded = io.BytesIO()
        self.image().save(encoded, "png")
        with replacing(path) as temporary:
            temporary.write_bytes(encoded.getbuffer())


def _ink(strokes: Strokes, side: int) -> Image.Image:
    """How much of each pixel strokes cover: an image of ``side`` x ``side`` pixels, 0 to 255."""
    from PIL import Image, ImageDraw

    large = Image.new("L", (side * _SUBPIXELS, side * _SUBPIXELS))
    draw = ImageDraw.Draw(large)
    left, top, width, _ = _VIEW
    scale = side * _SUBPIXELS / width
    radius = _PEN * scale / 2
    for x, y in strokes:
        points = np.column_stack([x - float(left), y - float(top)]) * scale
        draw.line(list(map(tuple, points.tolist())), 255, round(2 * radius))
        for point in points:  # round caps and joins
            draw.ellipse([*(point - radius), *(point + radius)], 255)
    return large.reduce(_SUBPIXELS)


def _font(size: float) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)  # it has more scripts, where the system has it
    except OSError:
        return ImageFont.load_default(size)


def _shortened(caption: str) -> str:
    caption = printable(in_xml(caption))
    return caption if len(caption) <= _LETTERS else caption[: _LETTERS - 1] + "…"


def _text(text: str) -> str:
    from html import escape

    return escape(printable(in_xml(text)))


def in_xml(text: str) -> str:
    """Replace characters that XML cannot represent, such as control characters."""
    return _NOT_XML.sub("\ufffd", text)
