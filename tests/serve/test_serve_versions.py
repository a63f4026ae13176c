"""The embedded server while versions come and go; and what counts as a version."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_model
from scripted_server import ask, drawings, eventually

from qdfast import client
from qdfast.errors import DataError
from qdfast.protocol import messages
from qdfast.protocol import tfs_pb2 as pb
from qdfast.storage.versions import find_versions, newest_version

pytest.importorskip("tensorflow_serving")
pytest.importorskip("grpc_health")
from qdfast.serve.manager import ModelManager
from qdfast.serve.model_config import ModelConfig, VersionPolicy
from qdfast.serve.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def server(publish: Callable[..., Path]) -> Iterator[Server]:
    with Server(publish(1), poll_seconds=0.05) as s:
        yield s


def test_versions_are_directories_named_by_numbers(tmp_path: Path) -> None:
    for name in ("1", "0010", "9", "x", "3.part", "-4", "٣", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").touch()
    assert find_versions(tmp_path) == {1: tmp_path / "1", 9: tmp_path / "9", 10: tmp_path / "0010"}
    assert newest_version(tmp_path) == 10


def test_no_version(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model version found"):
        newest_version(tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        newest_version(tmp_path / "missing")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(DataError, match="give its parent"):
        newest_version(tmp_path)


def test_the_highest_version_answers(publish: Callable[..., Path]) -> None:
    d = drawings()
    with Server(publish(2, 1, 10)) as s, ask(s) as c:
        assert np.allclose(c.probabilities(d), tiny_model.probabilities(*d.deltas(dtype=np.int16), 10), atol=1e-6)
        assert c.predict(d).version == c.wait_ready() == 10


def test_a_new_version_replaces_the_old_one(server: Server, publish: Callable[..., Path]) -> None:
    d = drawings()
    with ask(server) as c:
        assert c.predict(d).version == 1
        publish(2)
        eventually(lambda: c.predict(d).version == 2)
        eventually(lambda: c.model_status() == [messages.ModelVersion(2, "AVAILABLE"), messages.ModelVersion(1, "END")])
        with ask(server, version=1) as old, pytest.raises(client.ModelNotFound, match=r"Specific\(tiny, 1\)"):
            old.predict(d)


def test_requests_during_a_change_are_all_answered(server: Server, publish: Callable[..., Path]) -> None:
    d = drawings()
    raw = d.deltas(dtype=np.int16)
    by_version = {v: tiny_model.probabilities(*raw, v) for v in (1, 2)}
    changed = threading.Event()
    with ask(server, max_batch=4) as c:

        def change() -> None:
            try:
                publish(2)
                eventually(lambda: c.wait_ready() == 2)
            finally:
                changed.set()

        publisher = threading.Thread(target=change)
        publisher.start()
        rows = []
        while not changed.is_set():
            rows.append(c.probabilities(d))
        publisher.join()
        rows.append(c.probabilities(d))
    answered = np.zeros(2, bool)
    for p in rows:
        close = np.stack([np.isclose(p, q, atol=1e-6).all(axis=1) for q in by_version.values()])
        assert close.any(axis=0).all()
        answered |= close.any(axis=1)
    assert answered.all()


def test_taking_a_version_away_brings_back_the_one_before(publish: Callable[..., Path]) -> None:
    model_dir = publish(1, 2)
    with Server(model_dir, poll_seconds=0.05) as s, ask(s) as c:
        assert c.wait_ready() == 2
        shutil.rmtree(model_dir / "2")
        eventually(lambda: c.wait_ready() == 1)
        shutil.rmtree(model_dir / "1")  # nothing left
        with pytest.raises(client.ModelNotFound, match=r"Latest\(tiny\)"):
            eventually(lambda: not c.predict(drawings([3])))
        publish(10)
        eventually(lambda: c.wait_ready() == 10)


def test_a_broken_version_is_reported_and_passed_over(
    server: Server, publish: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    (publish() / "part").mkdir()
    (publish() / "part" / "saved_model.pb").write_bytes(b"nonsense")
    (publish() / "part").rename(publish() / "7")
    with ask(server) as c:
        eventually(lambda: len(c.model_status()) == 2)
        eventually(lambda: c.model_status()[0].state == "END")
        broken, working = c.model_status()
        assert broken.version == 7
        assert "cannot be served" in broken.error
        assert working == messages.ModelVersion(1, "AVAILABLE")
        assert c.predict(drawings([3])).version == 1
        publish(2)  # lower than the broken one, yet the highest that works
        eventually(lambda: c.wait_ready() == 2)
    assert len([r for r in caplog.records if "cannot be served" in r.getMessage()]) == 1


def test_a_version_copied_into_place_is_loaded_when_complete(
    server: Server, publish: Callable[..., Path], tiny_versions: Path
) -> None:
    model_dir = publish()
    with ask(server) as c:
        shutil.copytree(tiny_versions / "2", model_dir / "2", ignore=shutil.ignore_patterns("variables.*"))
        eventually(lambda: c.model_status()[0].state == "END")
        shutil.copytree(tiny_versions / "2", model_dir / "2", dirs_exist_ok=True)
        eventually(lambda: c.predict(drawings([3])).version == 2)


def test_a_lower_version_is_served_where_the_highest_is_broken(
    publish: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    model_dir = publish(1, 2)
    (model_dir / "10").mkdir()
    (model_dir / "10" / "saved_model.pb").write_bytes(b"nonsense")
    with Server(model_dir) as s, ask(s) as c:
        assert c.predict(drawings([3])).version == 2
    assert ["10: cannot be served" in r.getMessage() for r in caplog.records] == [True]


def test_a_replaced_version_is_freed(publish: Callable[..., Path]) -> None:
    manager = ModelManager([ModelConfig("tiny", publish(1))])
    spec = pb.ModelSpec(name="tiny")
    assert manager.refresh() == []
    held = manager.find(spec)
    old = weakref.ref(held)
    publish(2)
    assert manager.refresh() == []
    assert manager.find(spec).version == 2
    assert [s.state for s in manager.status(spec)] == ["AVAILABLE", "UNLOADING"]  # `held` is as a request under way
    del held
    gc.collect()
    assert old() is None
    assert [s.state for s in manager.status(spec)] == ["AVAILABLE", "END"]


def test_the_status_of_a_version_that_cannot_be_loaded(publish: Callable[..., Path], tmp_path: Path) -> None:
    model_dir = publish(1)
    (model_dir / "2").mkdir()
    for version, name in ((3, "saved_model.pb"), (4, "variables/variables.index")):
        shutil.copytree(model_dir / "1", model_dir / str(version))
        (model_dir / str(version) / name).write_bytes(b"nonsense")
    shutil.copytree(model_dir / "1", model_dir / "5")
    (model_dir / "5" / "variables" / "variables.index").unlink()
    request = messages.predict_request("tiny", None, "no_such", {})
    tiny_model.write_model(model_dir, 6, warm_up=[request])
    models = [ModelConfig("tiny", model_dir, VersionPolicy(latest=None))]
    with Server(models) as s, ask(s) as c:
        codes = {v.version: v.error_code for v in c.model_status()}
    assert codes[1] == "OK"
    assert (codes[2], codes[3], codes[5], codes[6]) == (
        "NOT_FOUND",
        "DATA_LOSS",
        "FAILED_PRECONDITION",
        "FAILED_PRECONDITION",
    )
    assert codes[4] in ("DATA_LOSS", "OUT_OF_RANGE")


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_not_a_saved_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(content)
    with pytest.raises(DataError, match="cannot be served") as e:
        Server(tmp_path).start()
    assert "\n" not in str(e.value)
    with pytest.raises(DataError, match="give its parent"):
        Server(tmp_path / "1").start()
