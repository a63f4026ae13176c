"""The same training on TensorFlow and on JAX, with drawings sent and resident, in every precision."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import python_path
from tiny_network import COMPILE_FAST, add_tiny

from qdfast.dataset.prepared import Prepared

keras = pytest.importorskip("keras")

from qdfast.learn.training.history import checkpoint_path  # noqa: E402
from qdfast.learn.training.runs import load_run  # noqa: E402
from qdfast.learn.training.train import train  # noqa: E402

pytestmark = pytest.mark.slow

BACKENDS = ["tensorflow", "jax"]
# One shape, as each is compiled: batches of one length, each a ninth of the drawings.
ARGUMENTS: dict[str, Any] = {"batch": 73, "max_len": 64, "buckets": (), "learning_rate": 1e-2, "epochs": 4}
SENT, RESIDENT = ({"model": "tiny_raw", "resident": resident} for resident in (False, True))
RUNS: dict[str, list[dict[str, Any]]] = {  # each a list of calls
    "sent": [SENT],
    "resumed": [{**SENT, "max_minutes": 1e-6}, RESIDENT],
    "lstm": [{"model": "tiny", "resident": True}],
    "lstm resumed": [{"model": "tiny", "epochs": n} for n in (1, 4)],
    "float16": [{**RESIDENT, "precision": "mixed_float16"}],
    "bfloat16": [{**RESIDENT, "precision": "mixed_bfloat16"}],
}


def train_all(data: str, out: Path) -> dict[str, str]:
    """The runs below ``out``; the line of each that says what computes."""
    add_tiny()
    lines: dict[str, list[str]] = {name: [] for name in RUNS}
    for name, calls in RUNS.items():
        for call in calls:
            train(data, out / name, **{**ARGUMENTS, **call}, log=lines[name].append)
    return {name: lines[1].partition(": ")[2] for name, lines in lines.items()}


@pytest.fixture(scope="module", params=BACKENDS)
def trained(
    request: pytest.FixtureRequest, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str], str]:
    backend = request.param
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    out = tmp_path_factory.mktemp(backend)
    code = (
        "import json, pathlib, test_backends\n"
        f"said = test_backends.train_all({str(prepared.path)!r}, pathlib.Path({str(out)!r}))\n"
        f"pathlib.Path({str(out / 'said.json')!r}).write_text(json.dumps(said))"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **COMPILE_FAST, "PYTHONPATH": python_path(Path(__file__).parent), "KERAS_BACKEND": backend},
        check=True,
    )
    return out, json.loads((out / "said.json").read_text()), backend


def state(path: Path) -> list[np.ndarray]:
    """Weights and optimizer state after the last epoch."""
    add_tiny()
    run = load_run(path)
    file = checkpoint_path(path, len(run.history))
    net = keras.saving.load_model(file)
    return [np.asarray(v) for v in [*net.weights, *net.optimizer.variables]]


def assert_equal_runs(out: Path, a: str, b: str) -> None:
    first, second = state(out / a), state(out / b)
    assert len(first) == len(second) > 10
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)
    histories = [[(e["loss"], e["val_loss"]) for e in load_run(out / name).history] for name in (a, b)]
    # The weights are equal to the last bit; the sums of losses that are reported need not be.
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-6)


@pytest.mark.parametrize(("whole", "parts"), [("sent", "resumed"), ("lstm", "lstm resumed")])
def test_a_run_goes_on_as_if_undisturbed_sent_or_resident(
    trained: tuple[Path, dict[str, str], str], whole: str, parts: str
) -> None:
    assert_equal_runs(trained[0], whole, parts)


def test_it_learns_in_every_precision(trained: tuple[Path, dict[str, str], str]) -> None:
    top1 = {name: load_run(trained[0] / name).history[-1]["val_top1"] for name in RUNS}
    assert top1["sent"] > 0.5
    assert top1["float16"] == pytest.approx(top1["sent"], abs=0.1)
    assert top1["bfloat16"] == pytest.approx(top1["sent"], abs=0.1)


def test_the_log_says_what_computes(trained: tuple[Path, dict[str, str], str]) -> None:
    _, said, backend = trained
    assert said["sent"] == f"{backend} on a CPU, float32, drawings sent batch by batch"
    assert said["lstm"] == f"{backend} on a CPU, float32, drawings kept in its memory (0.1 MB), LSTMs without cuDNN"
    assert said["bfloat16"] == f"{backend} on a CPU, mixed_bfloat16, drawings kept in its memory (0.1 MB)"
