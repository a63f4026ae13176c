"""Some of the inputs of hostile_all.py; `make hostile` sends all of them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import tiny_model

pytest.importorskip("tensorflow_serving")
import hostile
import hostile_all
import hostile_control
import hostile_files
import hostile_peers
import hostile_web
from outcomes import Outcomes, table

pytestmark = pytest.mark.slow


def check(outcomes: Outcomes, *seen: str) -> None:
    assert not outcomes.unclean, table([outcomes])
    assert set(seen) <= set(outcomes.clean)


def test_client() -> None:
    check(hostile_peers.client(200), "answered", "BadResponse")


def test_download() -> None:
    check(hostile_peers.download(60), "DataError", "OSError", "a whole file")


def test_shards() -> None:
    check(hostile_files.shards(100), "as before", "DataError")


def test_servers(tmp_path: Path) -> None:
    model_dir, root = tmp_path / "tiny", tmp_path / "root"
    model_dir.mkdir()
    root.mkdir()
    tiny_model.write_model(model_dir)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with hostile.server(model_dir, f"--rest-port={port}") as (target, _), hostile_all.page(target) as address:
        check(hostile_control.reflect(target, 100), "OK", "INTERNAL", "UNIMPLEMENTED")
        check(hostile_control.reload(target, root, model_dir, 50, allowed=False), "PERMISSION_DENIED")
        check(hostile_web.rest(f"http://127.0.0.1:{port}", 200), "200", "400", "404", "a good one answered")
        check(hostile_web.play(address, 100), "405", "422", "a good one answered")


def test_unclean_outcomes_are_shown_and_counted() -> None:
    outcomes = Outcomes("x")
    outcomes.add("OK", {"OK"}, "fine")
    outcomes.add("TypeError", {"OK"}, "\x1b[31m")
    assert outcomes.total == 2
    assert r"UNCLEAN x: TypeError: '\x1b[31m'" in table([outcomes])
