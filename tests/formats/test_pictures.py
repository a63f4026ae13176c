"""Pictures become bitmaps like Google's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qdfast
from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import load_rows
from qdfast.errors import DataError

pytest.importorskip("PIL")
from PIL import Image, ImageDraw

Strokes = list[tuple[np.ndarray, np.ndarray]]


def picture(strokes: Strokes, width: int, scale: float, ink: int = 0, paper: int = 255) -> Image.Image:
    """A drawing on paper of another size, not in the middle."""
    found = Image.new("L", (int(300 * scale) + 60, int(380 * scale) + 60), paper)
    for x, y in strokes:
        points = [(40 + float(a) * scale, 20 + float(b) * scale) for a, b in zip(x, y, strict=True)]
        ImageDraw.Draw(found).line(points, fill=ink, width=width, joint="curve")
    return found


@pytest.fixture(scope="module")
def drawings(doodles: Path) -> qdfast.Drawings:
    return qdfast.read_ndjson(doodles / "house.ndjson", recognized="any")[:12]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "scale", "suffix"), [(14, 1, "png"), (3, 1, "jpg"), (4, 2, "PNG"), (2, 0.5, "bmp"), (6, 2, "webp")]
)
@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (230, 30)])
def test_pictures_look_like_googles_bitmaps(
    drawings: qdfast.Drawings, width: int, scale: float, suffix: str, ink: int, paper: int, tmp_path: Path
) -> None:
    (tmp_path / "house").mkdir()
    for i, strokes in enumerate(drawings):
        picture(strokes, width, scale, ink, paper).save(tmp_path / "house" / f"{i:02d}.{suffix}")
    found = qdfast.read(tmp_path)
    assert isinstance(found, qdfast.Bitmaps)
    assert found.words == ("house",)
    expected = drawings.bitmaps()
    for ours, googles in zip(found.pixels, expected, strict=True):
        assert np.corrcoef(ours.ravel(), googles.ravel())[0, 1] > 0.9
    assert abs(found.pixels.mean() / expected.mean() - 1) < 0.35


def test_directories_of_classes(drawings: qdfast.Drawings, tmp_path: Path) -> None:
    src = tmp_path / "src"
    for name in ("cat", "dog"):
        (src / name).mkdir(parents=True)
        for i, strokes in enumerate(drawings):
            picture(strokes, 8, 1 + (name == "dog")).save(src / name / f"{i}.png")
    data = prepare(src, tmp_path / "data")
    assert (data.kind, list(data.classes), data.manifest["drawings"]) == ("bitmaps", ["cat", "dog"], 24)
    said: list[str] = []
    prepare(src, tmp_path / "data", log=said.append)
    assert sum("as prepared before" in line for line in said) == 2
    assert len(load_rows([src / "cat"])) == 12
    assert load_rows([src / "cat" / "3.png"]).kind == "bitmaps"


def test_transparent_pictures(drawings: qdfast.Drawings, tmp_path: Path) -> None:
    for ink in (0, 255):
        gray = picture(drawings[0], 10, 1)
        transparent = Image.merge("LA", (Image.new("L", gray.size, ink), gray.point(lambda value: 255 - value)))
        transparent.save(tmp_path / f"{ink}.png")
    for ink in (0, 255):
        found = qdfast.read(tmp_path / f"{ink}.png")
        assert isinstance(found, qdfast.Bitmaps)
        [pixels] = found.pixels
        assert np.corrcoef(pixels.ravel(), drawings[:1].bitmaps().ravel())[0, 1] > 0.85


def test_pictures_that_are_none(tmp_path: Path) -> None:
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "blank.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"blank\.png: a blank picture"):
        qdfast.read(tmp_path / "blank.png")
    with pytest.raises(DataError, match=r"cut\.png: a damaged picture"):
        qdfast.read(tmp_path / "cut.png")
    with pytest.raises(DataError, match=r"blank\.png: bitmaps, not strokes"):
        qdfast.read_ndjson(tmp_path / "blank.png")
