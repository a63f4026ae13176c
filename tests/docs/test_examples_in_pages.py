"""The examples of README.md and of the documentation, run as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs_pages import blocks, reader
from paths import ROOT

DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", sorted((DOCS / "concepts").glob("*.md")), ids=lambda page: page.stem)
def test_concepts(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with reader(tmp_path / "tools") as r:
        assert r.read(page) == sum(block.language == "python" for block in blocks(page))


@pytest.mark.slow
@pytest.mark.parametrize(
    "pages",
    [
        ["README.md"],
        ["docs/getting-started.md"],
        # The second and the third ask the server of the first.
        ["docs/tutorials/quickdraw.md", "docs/tutorials/web-backend.md", "docs/how-to/languages.md"],
        ["docs/tutorials/own-drawings.md"],
    ],
    ids=lambda pages: Path(pages[0]).stem,
)
def test_pages(pages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for extra in ("tensorflow", "tensorflow_serving", "grpc", "starlette"):
        pytest.importorskip(extra)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with reader(tmp_path / "tools") as r:
        for page in pages:
            assert r.read(ROOT / page)
