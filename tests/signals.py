"""Killing `qdfast prepare` again and again, for the tests of what is left then."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from qdfast.storage.names import SHARDS


def prepare_killed(sources: Sequence[Path], out: Path, after: Sequence[int]) -> None:
    """Prepare, killed when there are so many records, for each of these numbers; then undisturbed, to the end."""
    command = [sys.executable, "-m", "qdfast", "prepare", *map(str, sources), "--out", str(out)]
    kills = 0
    for wanted in after:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list((out / SHARDS).glob("*.json"))) < wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert (out / "manifest.json").exists() is (process.returncode == 0)
    assert kills or not after
    subprocess.run(command, check=True, capture_output=True)
