"""Which versions of which models are loaded, and which answers, with versions that are nothing but directories."""

from __future__ import annotations

import gc
import logging
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_server import TIMEOUT, eventually

from qdfast.errors import DataError
from qdfast.protocol import tfs_pb2 as pb
from qdfast.protocol.messages import ModelVersion

pytest.importorskip("tensorflow_serving")
from qdfast.serve import served_model
from qdfast.serve.manager import ModelManager
from qdfast.serve.model_config import ModelConfig, ModelConfigFile, VersionPolicy
from qdfast.serve.servable import LoadError, RequestError
from qdfast.serve.watcher import Watcher


class Version:
    """Loaded as long as there is no file ``broken`` in its directory."""

    def __init__(self, path: Path, version: int) -> None:
        if (path / "broken").exists():
            raise LoadError(f"{path}: cannot be served: {(path / 'broken').read_text()}", "DATA_LOSS")
        self.path = path
        self.version = version


@pytest.fixture(autouse=True)
def no_saved_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_model, "Servable", Version)
    monkeypatch.setattr(served_model, "warm_up", lambda servable: 0)


def publish(model_dir: Path, *versions: int, broken: str = "") -> Path:
    for version in versions:
        (model_dir / str(version)).mkdir(parents=True)
        if broken:
            (model_dir / str(version) / "broken").write_text(broken)
    return model_dir


def spec(name: str = "m", version: int | None = None, label: str | None = None) -> pb.ModelSpec:
    result = pb.ModelSpec(name=name)
    if version is not None:
        result.version.value = version
    if label is not None:
        result.version_label = label
    return result


def refused(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(RequestError) as e:
        call()
    return e.value.code, e.value.message


def states(manager: ModelManager, name: str = "m") -> list[tuple[int, str]]:
    return [(s.version, s.state) for s in manager.status(spec(name))]


# ---- one model ----


def test_the_latest_versions(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1, 2, 3), VersionPolicy(latest=2))])
    assert manager.refresh() == []
    assert manager.available("m") == [2, 3]
    publish(tmp_path, 10)
    manager.refresh()
    assert manager.available("m") == [3, 10]
    assert states(manager) == [(10, "AVAILABLE"), (3, "AVAILABLE"), (2, "END")]
    shutil.rmtree(tmp_path / "10")
    manager.refresh()
    assert manager.available("m") == [2, 3]
    assert states(manager) == [(10, "END"), (3, "AVAILABLE"), (2, "AVAILABLE")]


def test_all_versions(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1, 3), VersionPolicy(latest=None))])
    manager.refresh()
    publish(tmp_path, 2)
    shutil.rmtree(tmp_path / "1")
    manager.refresh()
    assert manager.available("m") == [2, 3]


def test_specific_versions(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1, 2, 4), VersionPolicy(specific=frozenset({1, 3})))])
    assert manager.refresh() == [f"{tmp_path / '3'}: no such directory, but the version policy lists it"]
    assert manager.available("m") == [1]
    publish(tmp_path, 3)
    assert manager.refresh() == []
    assert manager.available("m") == [1, 3]


def test_requests_find_versions_by_number(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1, 2, 3), VersionPolicy(latest=2))])
    manager.refresh()
    assert manager.find(spec()).version == 3
    assert manager.find(spec(version=2)).version == 2
    assert refused(lambda: manager.find(spec(version=1))) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(m, 1)",
    )
    assert refused(lambda: manager.find(spec("x"))) == ("NOT_FOUND", "Servable not found for request: Latest(x)")
    assert refused(lambda: manager.find(spec(""))) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_the_new_is_loaded_before_the_old_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1))])
    manager.refresh()
    seen = []

    def load(path: Path, version: int) -> Version:
        seen.append((manager.find(spec()).version, states(manager)))
        return Version(path, version)

    monkeypatch.setattr(served_model, "Servable", load)
    publish(tmp_path, 2)
    manager.refresh()
    assert seen == [(1, [(2, "LOADING"), (1, "AVAILABLE")])]
    assert manager.find(spec()).version == 2


def test_a_version_to_be_loaded_after_another_is_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1, 2), VersionPolicy(latest=None))])
    seen = []

    def load(path: Path, version: int) -> Version:
        seen.append(states(manager))
        return Version(path, version)

    monkeypatch.setattr(served_model, "Servable", load)
    manager.refresh()
    assert seen == [[(2, "LOADING"), (1, "START")], [(2, "AVAILABLE"), (1, "LOADING")]]


def test_a_version_is_unloading_as_long_as_a_request_has_it(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1))])
    manager.refresh()
    held = manager.find(spec())
    publish(tmp_path, 2)
    manager.refresh()
    assert states(manager) == [(2, "AVAILABLE"), (1, "UNLOADING")]
    shutil.rmtree(tmp_path / "2")
    manager.refresh()
    assert states(manager) == [(2, "END"), (1, "AVAILABLE")]  # loaded again, beside the one that is held
    del held
    assert states(manager) == [(2, "END"), (1, "AVAILABLE")]


def test_cycles_of_a_freed_version_are_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Graph:
        """A part of a version that refers to itself, as TensorFlow's graphs do."""

        def __init__(self) -> None:
            self.itself = self

    graphs: list[weakref.ref[Graph]] = []

    class WithGraph(Version):
        def __init__(self, path: Path, version: int) -> None:
            super().__init__(path, version)
            self.graph = Graph()
            graphs.append(weakref.ref(self.graph))

    monkeypatch.setattr(served_model, "Servable", WithGraph)
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1))])
    manager.refresh()
    held = manager.find(spec())
    gc.disable()
    try:
        publish(tmp_path, 2)
        manager.refresh()
        assert [graph() is None for graph in graphs] == [False, False]  # a request has version 1
        del held
        manager.refresh()
        assert [graph() is None for graph in graphs] == [True, False]
        manager.reload([])
        assert [graph() is None for graph in graphs] == [True, True]
    finally:
        gc.enable()


def test_a_broken_version_gives_way_to_the_next_until_it_is_mended(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    publish(tmp_path, 3, broken="no graph")
    manager = ModelManager([ModelConfig("m", tmp_path, VersionPolicy(latest=2))])
    trouble = [f"{tmp_path / '3'}: cannot be served: no graph"]
    assert manager.refresh() == trouble
    assert manager.available("m") == [1, 2]
    assert manager.status(spec(version=3)) == [ModelVersion(3, "END", trouble[0])]
    assert [s.error_code for s in manager.status(spec())] == ["DATA_LOSS", "OK", "OK"]
    assert manager.refresh() == trouble
    (tmp_path / "3" / "broken").unlink()
    assert manager.refresh() == []
    assert states(manager) == [(3, "AVAILABLE"), (2, "AVAILABLE"), (1, "END")]


def test_all_versions_taken_away_are_unloaded(tmp_path: Path) -> None:
    """As TensorFlow Serving does; but a directory that is not there may be on a disk that is about to come back."""
    manager = ModelManager([ModelConfig("m", publish(tmp_path / "m", 1))])
    manager.refresh()
    (tmp_path / "m").rename(tmp_path / "away")
    assert manager.refresh() == [f"{tmp_path / 'm'}: no such directory; the loaded versions stay in service"]
    assert manager.find(spec()).version == 1
    (tmp_path / "away").rename(tmp_path / "m")
    assert manager.refresh() == []
    shutil.rmtree(tmp_path / "m" / "1")
    (trouble,) = manager.refresh()
    assert trouble.startswith(f"{tmp_path / 'm'}: no model version found")
    assert "stay in service" not in trouble
    assert refused(lambda: manager.find(spec())) == ("NOT_FOUND", "Servable not found for request: Latest(m)")
    assert states(manager) == [(1, "END")]
    publish(tmp_path / "m", 2)
    assert manager.refresh() == []
    assert manager.find(spec()).version == 2


def test_versions_that_a_policy_names_are_unloaded_when_taken_away(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1, 2), VersionPolicy(specific=frozenset({1})))])
    manager.refresh()
    shutil.rmtree(tmp_path / "1")
    assert manager.refresh() == [f"{tmp_path / '1'}: no such directory, but the version policy lists it"]
    assert manager.available("m") == []


def test_what_is_loaded_stays_when_the_rest_is_broken(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1))])
    manager.refresh()
    publish(tmp_path, 2, broken="no graph")
    shutil.rmtree(tmp_path / "1")
    assert manager.refresh() == [f"{tmp_path / '2'}: cannot be served: no graph"]
    assert manager.find(spec()).version == 1


# ---- several ----


def test_no_model_hinders_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path, version: int) -> Version:
        if path.parent.name == "worse":
            raise ZeroDivisionError("a bug")
        return Version(path, version)

    monkeypatch.setattr(served_model, "Servable", load)
    publish(tmp_path / "bad", 1, broken="no graph")
    publish(tmp_path / "worse", 1)
    publish(tmp_path / "good", 1)
    manager = ModelManager([ModelConfig(name, tmp_path / name) for name in ("gone", "bad", "worse", "good")])
    assert manager.refresh() == [
        f"{tmp_path / 'gone'}: no such directory",
        f"{tmp_path / 'bad' / '1'}: cannot be served: no graph",
        "model worse: ZeroDivisionError: a bug",
    ]
    assert [manager.available(name) for name in manager.names] == [[], [], [], [1]]


def test_status_of_what_is_not_known(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1))])
    assert refused(lambda: manager.status(spec())) == ("NOT_FOUND", "Could not find any versions of model m")
    manager.refresh()
    assert refused(lambda: manager.status(spec(version=7))) == ("NOT_FOUND", "Could not find version 7 of model m")


# ---- another configuration ----


def test_models_come_and_go(tmp_path: Path) -> None:
    a, b = (ModelConfig(name, publish(tmp_path / name, 1)) for name in "ab")
    changed: list[str] = []
    manager = ModelManager([a], changed.append)
    manager.refresh()
    assert manager.reload([b]) == {}
    assert changed == ["a", "a", "b"]
    assert manager.names == ["b"]
    assert manager.find(spec("b")).version == 1
    assert refused(lambda: manager.find(spec("a")))[0] == "NOT_FOUND"
    assert states(manager, "a") == [(1, "END")]
    assert manager.reload([a, b]) == {}
    assert manager.find(spec("a")).version == 1
    assert manager.reload([]) == {}
    assert manager.names == []


def test_a_new_model_that_cannot_be_loaded_is_said_and_tried_again(tmp_path: Path) -> None:
    a, b = ModelConfig("a", publish(tmp_path / "a", 1)), ModelConfig("b", tmp_path / "b")
    manager = ModelManager([a])
    manager.refresh()
    assert manager.reload([a, b]) == {"b": f"{tmp_path / 'b'}: no such directory"}
    assert manager.reload([a, b]) == {}  # not new any more
    publish(tmp_path / "b", 1)
    manager.refresh()
    assert manager.find(spec("b")).version == 1


def test_another_policy_and_another_directory(tmp_path: Path) -> None:
    manager = ModelManager([ModelConfig("m", publish(tmp_path / "old", 1, 2))])
    manager.refresh()
    manager.reload([ModelConfig("m", tmp_path / "old", VersionPolicy(latest=2))])
    assert manager.available("m") == [1, 2]
    manager.reload([ModelConfig("m", publish(tmp_path / "new", 2))])
    assert manager.available("m") == [2]
    assert manager.find(spec()).path == tmp_path / "new" / "2"


def test_labels(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)

    def config(policy: VersionPolicy, **labels: int) -> list[ModelConfig]:
        return [ModelConfig("m", tmp_path, policy, labels)]

    both = VersionPolicy(latest=2)
    manager = ModelManager(config(VersionPolicy(), stable=1, canary=2))
    manager.refresh()
    assert manager.find(spec(label="canary")).version == 2
    not_loaded = ("NOT_FOUND", "Servable not found for request: Specific(m, 1)")
    assert refused(lambda: manager.find(spec(label="stable"))) == not_loaded
    unknown = ("INVALID_ARGUMENT", "Unrecognized servable version label: x")
    assert refused(lambda: manager.find(spec(label="x"))) == unknown
    assert refused(lambda: manager.find(spec("x", label="x"))) == unknown

    message = "Request to assign label to version 1 of model m, which is not currently available for inference"
    assert refused(lambda: manager.reload(config(both, canary=1))) == ("FAILED_PRECONDITION", message)
    assert manager.available("m") == [2]  # nothing has been changed
    manager.reload(config(both, canary=2, new=7))  # a label not in use may wait for its version
    assert manager.find(spec(label="canary")).version == 2
    manager.reload(config(both, canary=1))
    assert manager.find(spec(label="canary")).version == 1
    assert refused(lambda: manager.find(spec(label="new")))[0] == "INVALID_ARGUMENT"


# ---- following what changes ----


def listing(*models: tuple[str, Path, str]) -> str:
    configs = [
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'
        for name, path, more in models
    ]
    return f"model_config_list {{ {' '.join(configs)} }}"


def rewrite(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def test_the_file_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a, b = (publish(tmp_path / name, 1, 2) for name in "ab")
    file = ModelConfigFile(tmp_path / "models.config")
    file.path.write_text(listing(("a", a, "version_labels { key: 'stable' value: 2 }")))
    manager = ModelManager(file.read())
    watcher = Watcher(manager, file, seconds=0.01)
    watcher.load()
    watcher.start()
    try:
        rewrite(file.path, "nonsense")
        eventually(lambda: len(caplog.records) == 1)
        assert f"{file.path}: not a ModelServerConfig" in caplog.records[0].getMessage()
        assert caplog.records[0].getMessage().endswith("; keeping the previous models")
        assert manager.find(spec("a")).version == 2
        # The label cannot move before its version is there; it does when it is.
        rewrite(file.path, listing(("a", a, "version_labels { key: 'stable' value: 3 }"), ("b", b, "")))
        eventually(lambda: len(caplog.records) == 2)
        assert "Request to assign label to version 3 of model a" in caplog.records[1].getMessage()
        assert manager.names == ["a"]
        publish(a, 3)
        eventually(lambda: manager.available("b") == [2])
        assert manager.find(spec("a", label="stable")).version == 3
        assert len(caplog.records) == 2
    finally:
        watcher.stop()


def test_the_same_trouble_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    looked = threading.Semaphore(0)
    publish(tmp_path, 1)
    publish(tmp_path, 2, broken="no graph")
    manager = ModelManager([ModelConfig("m", tmp_path)], lambda name: looked.release())
    watcher = Watcher(manager, None, seconds=0.01)
    watcher.load()
    watcher.start()
    try:
        for _ in range(5):
            assert looked.acquire(timeout=TIMEOUT)
        assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
            (logging.ERROR, f"{tmp_path / '2'}: cannot be served: no graph")
        ]
    finally:
        watcher.stop()


def test_nothing_to_serve(tmp_path: Path) -> None:
    publish(tmp_path / "a", 1, broken="no graph")
    manager = ModelManager([ModelConfig("a", tmp_path / "a"), ModelConfig("b", tmp_path / "b")])
    with pytest.raises(DataError) as e:
        Watcher(manager, None, seconds=1).load()
    assert str(e.value) == f"{tmp_path / 'a' / '1'}: cannot be served: no graph; {tmp_path / 'b'}: no such directory"
    with pytest.raises(DataError, match="no models are configured"):
        Watcher(ModelManager([]), None, seconds=1).load()


def test_who_is_told_of_a_change_cannot_end_the_watching(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Semaphore(0)

    def tell(name: str) -> None:
        told.release()
        raise BrokenPipeError

    manager = ModelManager([ModelConfig("m", publish(tmp_path, 1))], tell)
    watcher = Watcher(manager, None, seconds=0.01)
    watcher.load()
    watcher.start()
    try:
        assert all(told.acquire(timeout=TIMEOUT) for _ in range(3))
        assert manager.available("m") == [1]
    finally:
        watcher.stop()
    assert "model m: BrokenPipeError" in caplog.text
