"""Several workers train as one does; where one is killed all stop, and the same call, given to all again, goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import PROCESS_TIMEOUT
from paths import python_path
from tiny_network import COMPILE_FAST, add_tiny
from workers import fail_second, write_config

from qdfast.dataset.prepared import Prepared
from qdfast.errors import DataError
from qdfast.learn.training.runs import load_run

keras = pytest.importorskip("keras")

from qdfast.learn.models import networks  # noqa: E402
from qdfast.learn.models.layers import AttentionPooling, MaskSteps, SequenceMask  # noqa: E402
from qdfast.learn.training.local_workers import _free_addresses, on_workers  # noqa: E402
from qdfast.learn.training.train import train  # noqa: E402
from qdfast.learn.training.workers import Cluster, WorkerError, Workers, cluster, join  # noqa: E402

pytestmark = pytest.mark.slow

ARGUMENTS: dict[str, Any] = {"batch": 33, "max_len": 64, "buckets": (48,), "learning_rate": 1e-2}
EPOCHS = {"certain": 2, "tiny": 4}


def certain(*, classes: int, recurrent_dropout: float, export: bool) -> Any:
    """A network without chance, and without statistics of a batch: what it learns depends on the order alone."""
    deltas = keras.Input((None, 3), dtype="float32", name="deltas")
    lengths = keras.Input((), dtype="int32", name="lengths")
    mask = SequenceMask(name="mask")(deltas, lengths)
    x = keras.layers.Conv1D(16, 5, padding="same", activation="relu")(MaskSteps(name="masked0")(deltas, mask))
    x = AttentionPooling(2, name="attention")(x, mask)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="certain")


def train_all(data: str, out: str, names: list[str], distribute: str) -> None:
    """A run of each network below ``out``."""
    add_tiny()
    networks.MODELS.setdefault("certain", networks.Network(certain, "for tests"))
    for name in names:
        train(data, Path(out) / name, model=name, epochs=EPOCHS[name], distribute=distribute, **ARGUMENTS)


def start(data: Path, out: Path, names: list[str], distribute: str, **environment: str) -> subprocess.Popen[str]:
    code = f"import test_distribute as t; t.train_all({str(data)!r}, {str(out)!r}, {names!r}, {distribute!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": python_path(Path(__file__).parent), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_workers(data: Path, out: Path, count: int = 2) -> list[subprocess.Popen[str]]:
    """What their hosts would start, had they any."""
    addresses = _free_addresses(count)
    config = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(count)]
    return [start(data, out, list(EPOCHS), "auto", TF_CONFIG=json.dumps(c)) for c in config]


def curve(run: Path, *figures: str) -> np.ndarray:
    return np.array([[e[f] for f in figures] for e in load_run(run).history])


@pytest.fixture(scope="module")
def alone(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process."""
    out = tmp_path_factory.mktemp("alone")
    train_all(str(prepared.path), str(out), list(EPOCHS), "none")
    return out


def test_two_workers_learn_as_one_and_go_on_after_one_was_killed(
    prepared: Prepared, alone: Path, tmp_path: Path
) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the workers of this test are TensorFlow's")
    workers = start_workers(prepared.path, tmp_path)
    while not (tmp_path / "tiny" / "history.json").exists():
        assert [w.poll() for w in workers] == [None, None]
        time.sleep(0.01)
    workers[1].send_signal(signal.SIGKILL)
    said, error = workers[0].communicate(timeout=PROCESS_TIMEOUT)
    workers[1].communicate()
    assert "2 devices, 2 processes" in said
    assert workers[0].returncode == 1
    assert "WorkerError: another worker ended or cannot be reached; start all workers again" in error
    finished = load_run(tmp_path / "tiny").history
    assert 1 <= len(finished) < EPOCHS["tiny"]

    workers = start_workers(prepared.path, tmp_path)
    said, other = (w.communicate(timeout=PROCESS_TIMEOUT)[0] for w in workers)
    assert [w.returncode for w in workers] == [0, 0]
    assert f"; finished so far: {len(finished)} epoch" in said
    assert "worker 1 of 2; the chief logs the progress" in other
    assert load_run(tmp_path / "tiny").history[: len(finished)] == finished

    figures = "loss", "top1", "val_loss", "val_top1"
    exact, ours = (curve(out / "certain", *figures) for out in (alone, tmp_path))
    np.testing.assert_allclose(ours, exact, rtol=1e-3, atol=2e-3)
    about, ours = (curve(out / "tiny", "loss", "val_loss") for out in (alone, tmp_path))
    assert about[-1, 0] < about[0, 0] - 0.2  # there is something to be compared
    np.testing.assert_allclose(ours, about, atol=0.15)


def test_two_devices_of_jax_compute_what_one_does(prepared: Prepared, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    counts = (1, 2)
    processes = [
        start(
            prepared.path,
            tmp_path / str(n),
            ["tiny"],
            "auto",
            KERAS_BACKEND="jax",
            XLA_FLAGS=f"{COMPILE_FAST['XLA_FLAGS']} --xla_force_host_platform_device_count={n}",
        )
        for n in counts
    ]
    said = [process.communicate(timeout=PROCESS_TIMEOUT) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "2 devices, 1 processes" in said[1][0]
    one, two = (curve(tmp_path / str(n) / "tiny", "loss", "top1", "val_loss", "val_top1") for n in counts)
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=2e-3)


# ---- who they are ----


def test_tf_config_says_who(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(jobs: dict[str, Any], kind: str, index: int) -> Cluster | None:
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}}))
        return cluster()

    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster() is None
    assert of({"worker": ["a:1", "b:1"]}, "worker", 1) == Cluster(("a:1", "b:1"), 1)
    both = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "evaluator": ["d:1"]}
    assert of(both, "chief", 0) == Cluster(("a:1", "b:1", "c:1"), 0)
    assert of(both, "worker", 0) == Cluster(("a:1", "b:1", "c:1"), 1)
    with pytest.raises(DataError, match="TF_CONFIG: the task type is evaluator"):
        of(both, "evaluator", 0)
    for bad in ("not JSON", "[]", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'):
        monkeypatch.setenv("TF_CONFIG", bad)
        with pytest.raises(DataError, match="TF_CONFIG: invalid cluster or task"):
            cluster()


def test_ways_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for distribute, said in {
        "multiworker": "TF_CONFIG names no other worker",
        "mirrored": "distribute is mirrored, but ",
        "everywhere": "distribute is 'everywhere': it must be one of auto, mirrored, multiworker, none",
    }.items():
        with pytest.raises(DataError, match=said):
            join(distribute)
    assert join("auto").world_size == 1


class Second(Workers):
    """A worker whose chief says what it is told here."""

    rank, world_size, devices = 1, 2, 2

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def broadcast_object(self, value: Any) -> Any:
        return {**value, "seed": self.seed} if value else "there is another run here"


@pytest.mark.parametrize(
    ("chiefs_seed", "said"),
    [
        (7, "worker 1: its arguments differ from the chief's: the chief has seed 7, not 42"),
        (42, "error on the chief: there is another run here"),
    ],
)
def test_what_the_chief_refuses_ends_all(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chiefs_seed: int, said: str
) -> None:
    add_tiny()
    monkeypatch.setattr("qdfast.learn.training.workers.join", lambda distribute: Second(chiefs_seed))
    with pytest.raises(DataError, match=said):
        train(prepared, tmp_path, model="tiny", **ARGUMENTS)
    assert not list(tmp_path.iterdir())


# ---- on one host ----


def test_a_host_starts_its_workers(tmp_path: Path) -> None:
    on_workers(partial(write_config, str(tmp_path)), 3)
    said = [json.loads((tmp_path / str(i)).read_text()) for i in range(3)]
    assert said[0] == said[1] == said[2]
    assert len(set(said[0])) == 3


def test_no_worker_is_left_when_one_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdfast.learn.training.local_workers._GRACE", 0.5)
    with pytest.raises(WorkerError, match=r"of 2 workers failed: .*1 \(exit status -9\)"):
        on_workers(fail_second, 2)
