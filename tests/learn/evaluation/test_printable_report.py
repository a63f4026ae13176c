"""Class names with control characters in everything that `evaluate` shows."""

from __future__ import annotations

from html import escape
from pathlib import Path

import orjson
import pytest

from qdfast import cli

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

NASTY = {"star": "st\x1b]0;title\x07ar\n\u202e\x9b31m", "tree": "tr\x1b[31mee\u2066", "circle": "circle"}
SHOWN = {"star": r"st\x1b]0;title\x07ar\n\u202e\x9b31m", "tree": r"tr\x1b[31mee\u2066", "circle": "circle"}


@pytest.mark.slow
def test_everything_that_evaluate_shows(doodles: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = []
    for name, word in NASTY.items():
        for line in (doodles / f"{name}.ndjson").read_bytes().splitlines():
            lines.append(orjson.dumps({**orjson.loads(line), "word": word}) + b"\n")
    (tmp_path / "all.ndjson").write_bytes(b"".join(lines))
    data, run, report = tmp_path / "data", tmp_path / "run\x1b[1m", tmp_path / "report"
    for command in (
        ["prepare", tmp_path / "all.ndjson", "--label", "word", "--recognized", "any", "--out", data],
        ["train", data, "--model", "knn", "--out", run],
        ["train", data, "--model", "random_forest", "--out", tmp_path / "other"],
        ["evaluate", run, tmp_path / "other", data, "--out", report],
        ["info", data, run, report],
    ):
        assert cli.main([str(argument) for argument in command]) == 0
        for text in capfd.readouterr():
            assert all(line.isprintable() for line in text.split("\n"))
    text = (report / "report.txt").read_text()
    assert all(line.isprintable() for line in text.split("\n"))
    page = (report / "report.html").read_text()
    for shown in SHOWN.values():
        assert shown in text
        assert f"<td>{escape(shown)}</td>" in page
    for file in (*report.rglob("*.svg"), *report.rglob("*.html"), *report.rglob("*.txt")):
        content = file.read_text()
        assert not {c for c in content if not c.isprintable()} - {"\n", "\t", "\xa0"}, file
    assert list(orjson.loads((report / "metrics.json").read_bytes())["classes"]) == sorted(NASTY.values())
