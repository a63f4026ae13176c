"""The report as files and as a page: complete in itself, safe with any name, for whatever there is to show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import PROCESS_TIMEOUT

pytest.importorskip("matplotlib")

import qdfast
from qdfast import DataError, Rows, cli, from_strokes
from qdfast._printable import printable
from qdfast.learn.evaluation.predictions import Predictions, summarize, summarize_run
from qdfast.learn.evaluation.report import NAMES, SUFFIXES, write_report
from qdfast.learn.models.calibration import scale_by_temperature
from qdfast.learn.training.runs import Run, load_run

pytestmark = pytest.mark.slow

HOSTILE = ("<script>alert(1)</script>", "a & \"b\" 'c'", "$x^{2$", "{{ 7 * 7 }}", "ねこ 🐈", "</script><b>", "\x00\x1b")


def run_of(path: Path, classes: tuple[str, ...], *, temperature: float | None = None, baseline: bool = False) -> Run:
    """A run directory without a network."""
    path.mkdir(parents=True, exist_ok=True)
    info = {
        "arguments": {"model": "knn" if baseline else "made_up"},
        "classes": classes,
        "stats": {"n": 0, "sum": [0, 0], "sum_sq": [0, 0]},
        "data": {"path": "data", "digest": "", "train": 10},
        "parameters": None if baseline else 1234,
        "backend": "none",
        "versions": {},
    }
    judged = {"val_loss": 0.4, "val_top1": 0.8, "val_top3": 0.9, "seconds": 90.0}
    learned = {} if baseline else {"loss": 0.5, "top1": 0.7}
    fitted = {} if temperature is None else {"temperature": temperature}
    epochs = [{"epoch": i, **judged, **learned, **fitted} for i in range(1, 2 if baseline else 4)]
    (path / "run.json").write_text(json.dumps({"format": 1, **info}))
    (path / "history.json").write_text(json.dumps({"format": 1, "epochs": epochs}))
    return load_run(path)


def drawings(n: int, **columns: Any) -> qdfast.Drawings:
    rng = np.random.default_rng(0)
    strokes = [[rng.integers(0, 256, (2, 4)).tolist() for _ in range(1 + i % 3)] for i in range(n)]
    plain = from_strokes(strokes)
    return qdfast.Drawings(plain.x, plain.y, plain.stroke_offsets, plain.drawing_offsets, **columns)


def answered(
    run: Run, labels: np.ndarray, rows: Rows | None = None, *, wrong: bool = True, seed: int = 0
) -> Predictions:
    """Predictions that are mostly right; all of them unless ``wrong``."""
    n, c = len(labels), len(run.classes)
    if rows is None:
        country = np.array([b"US", b"FI"])[np.arange(n) % 2]
        rows = Rows.from_drawings(
            [(drawings(n, key_id=np.arange(n) + 10**15, countrycode=country), labels)], run.classes
        )

    def predict(some: Rows) -> np.ndarray:
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(len(some), c)) + (2 if wrong else 20) * np.eye(c)[some.labels]
        p = np.exp(logits)
        return np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)

    raw = predict(rows)
    probabilities = raw if run.temperature is None else scale_by_temperature(raw, run.temperature)
    return Predictions(run, rows, labels, raw, probabilities, 1.5, predict)


def written(
    predictions: Predictions, out: Path, source: str = "some drawings", *others: Predictions
) -> tuple[dict[str, Any], str]:
    """The figures and the page, from the files."""
    metrics = {**summarize(predictions, source), "runs": [summarize_run(p) for p in (predictions, *others)]}
    write_report(metrics, predictions, out)
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    return metrics, (out / "report.html").read_text()


class Page(HTMLParser):
    """What a browser makes of a page: tags, text by tag, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.said: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            v or "" for name, v in attrs if name in ("src", "href", "xlink:href", "action", "data", "poster")
        ]

    def handle_data(self, data: str) -> None:
        self.said.setdefault(self.tags[-1] if self.tags else "", []).append(data)


LABELS = (np.arange(120) % 3).astype(np.int32)
ANIMALS = ("cat", "dog", "owl")


def test_every_file_is_there_and_every_figure_on_the_page(tmp_path: Path) -> None:
    predictions = answered(run_of(tmp_path / "first", ANIMALS, temperature=0.8), LABELS)
    other = answered(run_of(tmp_path / "second", ANIMALS, baseline=True), LABELS, seed=1)
    metrics, page = written(predictions, tmp_path / "out", "some drawings", other)
    assert {p.name for p in (tmp_path / "out" / "charts").iterdir()} == {n + s for n in NAMES for s in SUFFIXES}
    for svg in (tmp_path / "out" / "charts").glob("*.svg"):
        ET.parse(svg)
    assert Page(page).tags.count("svg") == len(NAMES) - 2 + len(metrics["mistakes"]) + 12  # 2: confusion, mistakes
    for share in (metrics["top1"], metrics["top2"], metrics["top3"], *metrics["top1_95"], metrics["certainty"]):
        assert f"{100 * share:.1f} %" in page
    before, auc = metrics["calibration"], metrics["auc"]
    for text in (
        f"{before['ece']:.2%}",
        f"{100 * before['ece']:.2f} %",
        f"{metrics['loss']:.4f}",
        "0.800",
        f"{auc:.4f}",
    ):
        assert text in page
    for mistake in metrics["mistakes"]:
        assert f"key_id {mistake['key_id']}" in page
        assert mistake["class"] != next(iter(mistake["guesses"]))
    sure = [next(iter(m["guesses"].values())) for m in metrics["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    assert [(r["run"], r["train_seconds"], r["epochs"]) for r in metrics["runs"]] == [
        ("first", 270, 3),
        ("second", 90, 1),
    ]
    assert [(g["name"], g["n"]) for g in metrics["by_country"]] == [("FI", 60), ("US", 60)]


def test_probabilities_are_the_calibrated_ones(tmp_path: Path) -> None:
    predictions = answered(run_of(tmp_path / "run", ANIMALS, temperature=3.0), LABELS)
    uncalibrated = answered(run_of(tmp_path / "plain", ANIMALS), LABELS)
    got, plain = summarize(predictions, ""), summarize(uncalibrated, "")
    assert got["top1"] == plain["top1"]
    assert got["certainty"] < plain["certainty"] - 0.1
    assert got["calibration"]["temperature"] == 3.0
    for name in ("loss", "ece", "certainty", "reliability"):
        assert got["calibration"][name] == plain[name] != got[name]
    assert plain["calibration"] is None


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("hostile")
    labels = (np.arange(140) % len(HOSTILE)).astype(np.int32)
    _, page = written(answered(run_of(path / "run", HOSTILE), labels), path / "out", "<img src=x>.ndjson")
    for svg in (path / "out" / "charts").glob("*.svg"):
        ET.parse(svg)
    return page


def matched(pattern: str, text: str) -> str:
    """The first group of the first match."""
    match = re.search(pattern, text, re.DOTALL)
    assert match is not None
    return match[1]


def test_names_are_text_and_nothing_else(hostile: str) -> None:
    page = Page(hostile)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert page.tags.count("b") == page.tags.count("figcaption") - charts_in(hostile)  # one a drawing, of ours
    assert "{{ 7 * 7 }}" in "".join(page.said["td"])
    assert "<script>alert(1)</script>" in page.said["td"]
    data = json.loads(matched(r'type="application/json" id="confusion">(.*?)</script>', hostile))
    assert sorted(data["classes"]) == sorted(map(printable, HOSTILE))
    assert sum(n for _, _, n in data["cells"]) == 140


def charts_in(page: str) -> int:
    return page.count('<figure class="chart">')


def test_the_page_needs_no_network(hostile: str) -> None:
    page = Page(hostile)
    assert page.addresses
    assert all(a.startswith(("#", "data:")) for a in page.addresses)
    assert not {"link", "iframe", "object", "embed", "base", "audio", "video"} & {*page.tags}
    assert "@import" not in hostile
    assert {*re.findall(r"\w+://[^\s\"'<>)]*", hostile)} <= {"http://www.w3.org/2000/svg"}  # the name of a language
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)'\"]*)", hostile))
    assert "default-src 'none'" in hostile


def test_charts_take_the_colours_of_the_page(hostile: str) -> None:
    assert "currentColor" in hostile
    assert charts_in(hostile) >= 5
    inline = re.findall(r'<div class="wide" role="img".*?</svg></div>|<svg.*?</svg>', hostile, re.DOTALL)
    assert all("<style" not in svg for svg in inline)  # it would be one for the whole page
    assert "prefers-color-scheme: dark" in hostile


# ---- what there may not be ----


CASES: dict[str, Callable[[Path], Predictions]] = {
    "one class": lambda p: answered(run_of(p, ("cat",)), np.zeros(5, np.int32)),
    "two classes": lambda p: answered(run_of(p, ("cat", "dog")), (np.arange(50) % 2).astype(np.int32)),
    "two classes, drawings of one": lambda p: answered(run_of(p, ("cat", "dog")), np.zeros(9, np.int32)),
    "missing classes": lambda p: answered(run_of(p, tuple("abcdefgh")), (np.arange(40) % 2).astype(np.int32)),
    "one drawing": lambda p: answered(run_of(p, ANIMALS), np.array([1], np.int32)),
    "no mistakes": lambda p: answered(run_of(p, ANIMALS), LABELS, wrong=False),
    "345 classes": lambda p: answered(
        run_of(p, tuple(f"class {i}" for i in range(345))), (np.arange(700) % 345).astype(np.int32)
    ),
    "a baseline": lambda p: answered(run_of(p, ANIMALS, baseline=True), LABELS),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_there_is_left_out(case: str, tmp_path: Path) -> None:
    predictions = CASES[case](tmp_path / "run")
    metrics, page = written(predictions, tmp_path / "out")
    names = {p.stem for p in (tmp_path / "out" / "charts").glob("*.png")}
    one_sided = ("one class", "two classes, drawings of one", "one drawing")
    assert ("roc" in names) == (metrics["auc"] is not None) == (case not in one_sided)
    assert ("mistakes" in names) == (metrics["top1"] < 1)
    assert ("learning" in names) == (case != "a baseline")
    assert "comparison" not in names
    assert ("There are no misclassified drawings" in page) == (metrics["top1"] == 1)
    assert Page(page).tags.count("tr") >= len(predictions.run.classes)
    assert not re.search(r"\b(?:nan|None|undefined)\b", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))


def test_without_key_id_and_country(tmp_path: Path) -> None:
    rows = Rows.from_drawings([(drawings(120), LABELS)], ANIMALS)
    metrics, page = written(answered(run_of(tmp_path / "run", ANIMALS), LABELS, rows), tmp_path / "out")
    assert {m["key_id"] for m in metrics["mistakes"]} == {None}
    assert "key_id" not in page
    assert metrics["by_country"] == []
    assert not (tmp_path / "out" / "charts" / "country.svg").exists()
    assert "No country has" in page


def test_bitmaps_are_shown_as_such(tmp_path: Path) -> None:
    bitmaps = qdfast.Bitmaps(drawings(120).bitmaps())
    rows = Rows.from_drawings([(bitmaps, LABELS)], ANIMALS)
    metrics, page = written(answered(run_of(tmp_path / "run", ANIMALS), LABELS, rows), tmp_path / "out")
    assert metrics["by_seen"] is metrics["by_strokes"] is metrics["by_points"] is metrics["by_country"] is None
    assert page.count("data:image/png;base64,") == len(metrics["mistakes"]) + 12
    assert "The drawings are bitmaps" in page


def test_a_report_replaces_an_earlier_one(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ANIMALS)
    written(answered(run, LABELS), tmp_path / "out", "first")
    charts = tmp_path / "out" / "charts"
    (charts / "mine.svg").write_text("kept")
    assert (charts / "mistakes.svg").exists()
    assert (charts / "country.png").exists()
    rows = Rows.from_drawings([(drawings(120), LABELS)], ANIMALS)
    _, page = written(answered(run, LABELS, rows, wrong=False), tmp_path / "out", "second")
    assert "second" in page
    assert not [p for p in charts.iterdir() if p.stem in ("mistakes", "country")]
    assert (charts / "mine.svg").exists()


def test_the_same_answers_give_the_same_files(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ANIMALS)
    for name in ("one", "two"):
        written(answered(run, LABELS), tmp_path / name)
    for file in (tmp_path / "one").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes(), file


# ---- by the command ----


def test_several_runs_on_the_command_line(doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    data, runs = tmp_path / "data", [tmp_path / name for name in ("one", "two")]
    assert cli.main(["prepare", str(doodles), "--out", str(data), "--recognized", "any"]) == 0
    for run, model in zip(runs, ("knn", "random_forest"), strict=True):
        assert cli.main(["train", str(data), "--out", str(run), "--model", model]) == 0
    out = tmp_path / "out"
    assert cli.main(["evaluate", *map(str, runs), str(data), "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["run"], metrics["model"], metrics["source"]) == ("one", "knn", str(data))
    assert [(r["run"], r["model"]) for r in metrics["runs"]] == [("one", "knn"), ("two", "random_forest")]
    assert metrics["runs"][0]["top1"] == metrics["top1"]
    assert metrics["n"] == len(qdfast.open_prepared(data).rows("validation"))
    assert (out / "charts" / "comparison.svg").exists()
    capsys.readouterr()
    assert cli.main(["evaluate", *map(str, runs), "--out", str(out)]) == 1
    assert "no drawings to evaluate on" in capsys.readouterr().err


def test_runs_must_know_the_classes(tmp_path: Path) -> None:
    from qdfast.learn.evaluation.evaluate import evaluate

    run_of(tmp_path / "a", ANIMALS, baseline=True)
    run_of(tmp_path / "b", ("cat", "dog", "sun"), baseline=True)
    rows = Rows.from_drawings([(drawings(120), LABELS)], ANIMALS)
    with pytest.raises(DataError, match="not trained on owl"):
        evaluate([tmp_path / "a", tmp_path / "b"], rows, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- in a browser ----


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_its_script_runs(tmp_path: Path) -> None:
    """The matrix is drawn and can be asked, and tables are sorted; nothing is said on the console."""
    metrics, page = written(answered(run_of(tmp_path / "run", ANIMALS), LABELS), tmp_path / "out")
    act = """
    window.addEventListener("error", (e) => { document.title = "failed: " + e.message; });
    document.querySelector("[data-actual]").click();
    document.querySelector(".sortable th:nth-child(1)").click();
    """
    file = tmp_path / "acted.html"
    file.write_text(page.replace("</body>", f"<script>{act}</script></body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *options, file.as_uri()], capture_output=True, text=True, timeout=PROCESS_TIMEOUT
    )
    dom = done.stdout
    assert "failed" not in matched(r"<title>(.*?)</title>", dom)
    counts = np.array(metrics["confusion"])
    np.fill_diagonal(counts, 0)
    actual, taken = np.unravel_index(counts.argmax(), counts.shape)
    assert f"{ANIMALS[actual]} predicted as {ANIMALS[taken]}: {counts.max()} of 40" in dom
    assert re.search(r"<canvas[^>]* height=\"[1-9]\d+\"", dom)
    table = matched(r'<table class="sortable">(.*?)</table>', dom)
    assert re.findall(r"<tr><td>(\w+)", table) == sorted(ANIMALS)
