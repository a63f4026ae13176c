"""`qdfast models` against what it tells of."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from paths import ROOT

from qdfast.learn.models.baselines import BASELINES, Baseline

pytest.importorskip("keras")

from qdfast.learn.models.model_table import model_table
from qdfast.learn.models.networks import MODELS, Network, build
from qdfast.learn.training.config import DEFAULT_MODEL


@pytest.fixture(autouse=True)
def _without_those_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name, network in MODELS.items() if network.summary == "for tests"]:
        monkeypatch.delitem(MODELS, name)


def listed(text: str) -> dict[str, list[str]]:
    """The lines of each model: its row and what it is for."""
    lines = text.split("\n\n")[0].splitlines()[1:]
    return {line.split()[0]: [line, after.strip()] for line, after in zip(lines[::2], lines[1::2], strict=True)}


def test_all_models_are_listed_with_what_they_are() -> None:
    got = listed(model_table(345))
    known: dict[str, Network | type[Baseline]] = {**MODELS, **BASELINES}
    assert list(got) == list(known)
    for name, (row, purpose) in got.items():
        assert row.endswith(known[name].summary)
        assert purpose == known[name].purpose != ""
    for name, network in MODELS.items():
        assert got[name][0].split()[1] == network.takes
        assert got[name][0].split()[3] == network.recipe
    assert [name for name, (_, purpose) in got.items() if purpose.startswith("the default")] == [DEFAULT_MODEL]


@pytest.mark.parametrize("classes", [2, 30])
@pytest.mark.slow
def test_parameters_are_those_of_so_many_classes(classes: int) -> None:
    got = listed(model_table(classes))
    for name in MODELS:
        assert got[name][0].split()[2] == f"{build(name, classes=classes).count_params():,}"
    learned = {2: 784 * 100 + 100 + 100 * 100 + 100 + 100 + 1, 30: 784 * 100 + 100 + 100 * 100 + 100 + 100 * 30 + 30}
    assert got["mlp"][0].split()[2] == f"{learned[classes]:,}"
    assert f"Parameters are those for {classes} classes" in model_table(classes)


@pytest.mark.slow
def test_the_command() -> None:
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}  # of whoever wants to see more
    done = subprocess.run([sys.executable, "-m", "qdfast", "models"], capture_output=True, text=True, env=env)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == model_table(345) + "\n"


def test_the_documentation_lists_the_same() -> None:
    table = (ROOT / "docs" / "reference" / "models.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)`.*\|([^|]*)\|$", table, re.MULTILINE))
    assert set(rows) == {*MODELS, *BASELINES}
    assert {name: rows[name].split("`")[1] for name in MODELS} == {name: MODELS[name].recipe for name in MODELS}
    assert f"| `{DEFAULT_MODEL}` (default) |" in table
