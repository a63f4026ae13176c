"""Clients load models by HandleReloadConfigRequest only from where the operator said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from scripted_server import TIMEOUT, ask, drawings

pytest.importorskip("tensorflow_serving")
from served import refusal
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from qdfast.cli import main
from qdfast.errors import DataError
from qdfast.serve import ServeOptions
from qdfast.serve.model_config import ModelConfig
from qdfast.serve.reload_roots import ReloadRoots
from qdfast.serve.servable import RequestError
from qdfast.serve.server import Server


def reload_request(**models: Path | str) -> Any:
    r = model_management_pb2.ReloadConfigRequest()
    r.config.model_config_list.SetInParent()
    for name, path in models.items():
        r.config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
    return r


def is_allowed(path: Path | str, *roots: Path) -> bool:
    try:
        ReloadRoots(roots).check([ModelConfig("m", Path(path))])
    except RequestError as e:
        return e.code != "PERMISSION_DENIED"
    return True


def test_without_roots_nothing_is_allowed_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="start the server with --allow-reload ROOT") as e:
        ReloadRoots().check([])
    assert e.value.code == "PERMISSION_DENIED"


def test_only_paths_below_a_root_are_allowed(tmp_path: Path) -> None:
    one, two, outside = (tmp_path / name for name in ("one", "two", "one-more"))
    for directory in (one / "model", two, outside):
        directory.mkdir(parents=True)
    for good in (one, one / "model", one / "missing" / "deep", two / "x", f"{one}/./model"):
        assert is_allowed(good, one, two), good
    for bad in (tmp_path, outside, "/", "/proc/self/root", one / ".." / "two-b", one / "model" / ".." / ".." / "x"):
        assert not is_allowed(bad, one, two), bad
    for odd in (f"{one}/\0", f"{one}\0", "/" + "x" * 5000):
        assert not is_allowed(odd, one, two)
    assert not is_allowed(two, one)


def test_symlinks_are_resolved(tmp_path: Path) -> None:
    real, outside = tmp_path / "real", tmp_path / "outside"
    (real / "model").mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "root").symlink_to(real)
    (real / "inside").symlink_to(real / "model")
    (real / "out").symlink_to(outside)
    (real / "loop").symlink_to(real / "loop")
    (outside / "in").symlink_to(real / "model")
    for root in (real, tmp_path / "root"):
        assert is_allowed(root / "inside", root)
        assert is_allowed(real / "model", root)
        assert not is_allowed(root / "out", root)
        assert not is_allowed(root / "out" / "missing", root)
        assert not is_allowed(outside / "in", root)
    is_allowed(real / "loop", real)  # no error


def test_what_exists_outside_is_not_told_and_not_even_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    roots = ReloadRoots([root])
    touched: list[str] = []
    realpath = os.path.realpath

    def seen(path: str | Path) -> str:
        touched.append(str(path))
        return realpath(path)

    monkeypatch.setattr(os.path, "realpath", seen)
    messages = set()
    for path in (tmp_path, tmp_path / "missing", Path("/etc/passwd"), Path("/proc/1/root"), Path("/no/such")):
        with pytest.raises(RequestError) as e:
            roots.check([ModelConfig("m", path)])
        messages.add((e.value.code, str(e.value).replace(str(path), "PATH")))
    assert len(messages) == 1
    assert set(touched) == {str(root)}


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing: no such directory; --allow-reload"):
        ReloadRoots([tmp_path / "missing"])


def test_the_command_line_names_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ServeOptions] = []
    monkeypatch.setattr("qdfast.serve.serve", seen.append)
    for option in ([], ["--allow-reload", str(tmp_path)], ["--allow-reload=a", "--allow-reload=b"]):
        assert main(["serve", str(tmp_path), *option]) == 0
    assert [options.allow_reload for options in seen] == [(), (tmp_path,), (Path("a"), Path("b"))]


def test_tensorflow_model_server_cannot_limit_reloads(
    publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    model_dir = publish(1)
    assert main(["serve", str(model_dir), "--allow-reload", str(model_dir)]) == 1
    assert "use --embedded to limit them" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_refuses_reloads_unless_told_otherwise(publish: Callable[..., Path]) -> None:
    model_dir = publish(1)
    with Server(model_dir) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, ask(server) as c:
        method = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
        for request in (
            reload_request(tiny=model_dir),
            reload_request(tiny="/no/such"),
            reload_request(tiny="relative"),
            reload_request(),
            model_management_pb2.ReloadConfigRequest(),
        ):
            code, message = refusal(method, request)
            assert code == "PERMISSION_DENIED"
            assert "--allow-reload ROOT" in message
        assert c.predict(drawings()).version == 1


@pytest.mark.slow
def test_a_server_loads_only_below_its_roots(publish: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    model_dir, other, outside = publish(1), publish(2, name="roots/other"), publish(10, name="outside")
    root = tmp_path / "roots"
    (root / "link").symlink_to(outside)
    with (
        Server(model_dir, allow_reload=[root]) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        method = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
        refused = set()
        for path in (outside, outside / "no", model_dir, root / "link", "/proc/self/cwd", f"{root}/../outside"):
            code, message = refusal(method, reload_request(ok=other, tiny=path))
            refused.add((code, message.replace(str(Path(path)), "PATH")))
        message = "model tiny: base_path PATH is not below a directory that the server's --allow-reload names"
        assert refused == {("PERMISSION_DENIED", message)}
        with ask(server) as c:
            assert c.predict(drawings()).version == 1
        method(reload_request(other=other), timeout=TIMEOUT)
        with ask(server, model="other") as c:
            assert c.predict(drawings()).version == 2
