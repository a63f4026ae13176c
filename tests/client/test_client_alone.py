"""The client where nothing else is installed, with the oldest and the newest protobuf that it takes.

Environments are made with what pip finds; where it finds nothing, these tests are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT, TESTS

pytestmark = pytest.mark.slow

PROTOBUFS = ("==6.31.1", ">=7,<8")

ASK = """
import asyncio, sys
import google.protobuf, numpy as np
from qdfast.client import AsyncClient, Client
heavy = {m.partition(".")[0] for m in sys.modules} & {"tensorflow", "keras", "tensorflow_serving", "google.cloud"}
assert not heavy, heavy
from scripted_server import Scripted, drawings, expected
server, d = Scripted(), drawings()

def check(probabilities, best, metadata):
    assert np.array_equal(probabilities, expected(d)) and len(best) == len(d) and "serving_default" in metadata.signatures

async def ask():
    async with AsyncClient(server.target, model="tiny", max_batch=3) as c:
        assert await c.wait_ready() == 1
        check(await c.probabilities(d), await c.predict(d), await c.metadata())

with Client(server.target, model="tiny", max_batch=3) as c:
    assert c.wait_ready() == 1
    check(c.probabilities(d), c.predict(d), c.metadata())
asyncio.run(ask())
server.server.stop(None).wait()
print("answered with protobuf", google.protobuf.__version__)
"""


@pytest.fixture(scope="module")
def requirements() -> list[str]:
    """What `qdfast[client]` needs, without protobuf."""
    text = (ROOT / "pyproject.toml").read_text()
    lists = (re.search(rf"^{name} = \[(.*)\]$", text, re.MULTILINE) for name in ("dependencies", "client"))
    found = [r for listed in lists if listed for r in re.findall(r'"([^"]+)"', listed[1])]
    assert any(r.startswith("grpcio") for r in found)
    return [r for r in found if not r.startswith("protobuf")]


@pytest.mark.parametrize("version", PROTOBUFS)
def test_the_client_alone(version: str, requirements: list[str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    pip += ["install", "--quiet", "--no-compile", "--retries", "1"]
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "PYTHONPATH")}
    done = subprocess.run([*pip, *requirements, f"protobuf{version}"], capture_output=True, text=True, env=environment)
    if done.returncode:
        pytest.skip(f"pip: {done.stderr.strip().splitlines()[-1]}")
    environment["PYTHONPATH"] = f"{ROOT}:{TESTS}"
    done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    major = re.search(r"\d", version)
    assert major
    assert done.stdout.startswith(f"answered with protobuf {major[0]}.")
