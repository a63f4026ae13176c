"""Text from outside is printable wherever it is shown."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qdfast
from qdfast import cli
from qdfast._printable import printable
from qdfast.errors import DataError, ParseError, ServingError
from qdfast.parse_report import Example, ParseReport, explain
from qdfast.pictures import Sheet
from qdfast.storage.progress import Progress

NASTY = "cat\x1b]0;title\x07\r\n\x9b31m\u202e\u2066\u200b\x7f\x00\ufeff\u2028"
SHOWN = r"cat\x1b]0;title\x07\r\n\x9b31m\u202e\u2066\u200b\x7f\x00\ufeff\u2028"


@given(st.text() | st.text(st.sampled_from("a\x1b\n\x9b\u202e\ud800")))
def test_any_text(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert text.isprintable() == (shown == text)


def test_what_becomes_of_it() -> None:
    assert printable(NASTY) == SHOWN
    assert printable("The Eiffel Tower, 猫, crème brûlée \\n") == "The Eiffel Tower, 猫, crème brûlée \\n"


def test_errors() -> None:
    for error in (DataError(NASTY), ServingError(NASTY), ParseError("not_json", NASTY, 1, 0, NASTY)):
        assert SHOWN in str(error)
        assert str(error).isprintable()
    assert str(DataError()) == ""
    with pytest.raises(FileNotFoundError) as missing:
        qdfast.read_ndjson(f"nowhere/{NASTY[:-5]}x".replace("\0", ""))
    assert str(missing.value).isprintable()


def test_reports_and_reprs() -> None:
    report = ParseReport(
        1,
        {"not_json": 1},
        (Example("not_json", NASTY, 1, 0, NASTY),),
        {"countrycode": 1},
        0,
        0,
        (Example("countrycode", NASTY, 1, 0, NASTY),),
    )
    drawings = qdfast.from_strokes([[[[0, 9], [0, 9]]]], words=[NASTY])
    for shown in (
        explain(report),
        repr(report),
        *str(report).split("\n"),
        repr(drawings),
    ):
        assert shown.isprintable()
    assert len(str(report).split("\n")) == 5
    assert "\u202e" not in drawings.svg() + Sheet([drawings[0]], [NASTY]).svg()


def test_labels_of_a_model() -> None:
    requests = pytest.importorskip("qdfast.protocol.requests", exc_type=ImportError)
    shown = repr(requests.Predictions(np.array([[NASTY], ["b"]]), np.array([[0.5], [1]], np.float32)))
    assert SHOWN in shown
    check_lines(shown + "\n", 3)


def test_progress() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Progress(NASTY, stream=stream) as progress:
        progress._last -= 1
        progress.update(1, NASTY)
    assert stream.getvalue().replace("\r", "").isprintable()


def check_lines(text: str, lines: int | None = None) -> None:
    assert text.endswith("\n")
    assert all(line.isprintable() for line in text[:-1].split("\n"))
    assert lines in (None, text.count("\n"))


NAME = NASTY.replace("\0", "").replace("]0;title", "")  # of a file


@pytest.fixture
def nasty(doodles: Path, tmp_path: Path) -> Path:
    """A directory with two files, one of whose names is nasty."""
    source = tmp_path / "source\x1b[1m\n"
    source.mkdir()
    for name, of in ((NAME, "star"), ("tree", "tree")):
        (source / f"{name}.ndjson").write_bytes((doodles / f"{of}.ndjson").read_bytes())
    return source


def test_commands_and_the_names_of_files(nasty: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out\x1b[2m"
    for command, lines in (
        (["info", nasty], None),
        (["info", nasty / f"{NAME}.ndjson"], None),
        (["prepare", nasty, "--out", out], 1),
        (["info", out], None),
        (["convert", out, "--format", "ndjson", "--out", tmp_path / "converted\x1b"], 1),
        (["doodles", "star", "--per-class", "1", "--out", tmp_path / "doodles\x1b\n"], 1),
        (["info", nasty, "--gallery", tmp_path / "x\x1b.svg"], None),
    ):
        assert cli.main([str(argument) for argument in command]) == 0
        stdout, stderr = capfd.readouterr()
        check_lines(stdout, lines)
        if stderr:
            check_lines(stderr)
    (nasty / "bad\x1b\n.ndjson").write_bytes(b"\x1b]0;title\x07\n")
    for failing in (
        ["prepare", nasty, "--out", tmp_path / "bad"],
        ["info", nasty / "no\x1b\n"],
        ["info", nasty / "bad\x1b\n.ndjson"],
        ["train", nasty, "--out", tmp_path / "run"],
        ["serve", nasty, "--embedded"],
        ["export", nasty, "--out", tmp_path / "model"],
        ["evaluate", nasty, nasty, "--out", tmp_path / "report"],
        ["download", "cat\x1b", "--out", tmp_path],
        ["download", "cat", "--out", nasty / f"{NAME}.ndjson"],
        ["predict", nasty, "--target", "\x1b"],
    ):
        assert cli.main([str(argument) for argument in failing]) == 1
        stdout, stderr = capfd.readouterr()
        check_lines(stderr)
        assert stderr.split("\n")[-2].startswith(f"qdfast {failing[0]}: error: ")


@pytest.mark.parametrize("arguments", [["info", "--\x1b]0;\x07"], ["\x1b[31m"], ["models", "--classes", "\x1b\n"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    check_lines(capsys.readouterr().err)


def test_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def command(a: object) -> None:
        logging.getLogger("qdfast.serve.watcher").error("%s", NASTY)
        try:
            raise ValueError(NASTY)
        except ValueError:
            logging.getLogger("uvicorn.error").exception("failed")

    monkeypatch.setitem(cli.commands.COMMANDS, "info", command)
    assert cli.main(["info"]) == 0
    err = capsys.readouterr().err
    check_lines(err)
    assert err.startswith(SHOWN + "\nfailed\nTraceback")


def test_the_lines_of_predict_are_the_same_json() -> None:
    predict = pytest.importorskip("qdfast.cli.predict", exc_type=ImportError)
    requests = pytest.importorskip("qdfast.protocol.requests", exc_type=ImportError)
    labels = [NASTY + "é\U000e0041", "crème"]
    drawings = qdfast.from_strokes([[[[0, 9], [0, 9]]]] * 2)
    scores = np.array([[0.1], [1 / 3]], np.float32)
    lines = list(predict._lines(drawings, requests.Predictions(np.array(labels)[:, None], scores)))
    assert [json.loads(line) for line in lines] == [
        {"labels": [label], "scores": [score]} for label, score in zip(labels, scores.ravel().tolist(), strict=True)
    ]
    check_lines(b"".join(lines).decode(), 2)
    assert "crème" in lines[1].decode()
