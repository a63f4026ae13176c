"""Commands that write, killed at any time and started again: in the end there is what an undisturbed run leaves.

    python tests/kills.py 100

KILLS are shared among prepare, convert, train and export. After each, what other programs read must be whole or absent; at the end
the bytes are compared: of exports and checkpoints those of the weights, since TensorFlow's files hold times and random names.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limits import PROCESS_TIMEOUT
from paths import python_path

import qdfast
from qdfast.quickdraw.doodles import write_doodles

CODE = "import sys; from tiny_network import add_tiny; add_tiny(); from qdfast.cli import main; sys.exit(main())"
"""The command line, with a network that is trained in a moment."""

SHARES = {"prepare": 40, "convert": 36, "train": 14, "export": 10}
"""Percent of the kills."""

Digests = Mapping[str, str]


def environment() -> dict[str, str]:
    """Of the processes that run the command line."""
    return {**os.environ, "PYTHONPATH": python_path(), "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Command:
    """A command to be killed.

    Attributes:
        arguments: without ``--out``.
        network: whether it needs TensorFlow.
        digests: of what it has left.
    """

    arguments: tuple[str, ...]
    network: bool
    digests: Callable[[Path], Digests]

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        how = ["-c", CODE] if self.network else ["-m", "qdfast"]
        return subprocess.Popen(
            [sys.executable, *how, *self.arguments, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
        )

    def finish(self, out: Path) -> None:
        """Run it to the end."""
        process = self.start(out)
        _, err = process.communicate(timeout=PROCESS_TIMEOUT)
        assert process.returncode == 0, err.decode(errors="replace")[-2000:]


def tree(out: Path) -> Digests:
    """Digests of all files by name."""
    return {str(p.relative_to(out)): _digest(p.read_bytes()) for p in sorted(out.rglob("*")) if p.is_file()}


def run_digests(out: Path) -> Digests:
    """Digests of the weights of a run, and the names of its files."""
    digests = {p.name: "" for p in out.iterdir()}
    with zipfile.ZipFile(out / "best.keras") as best:
        digests["best.keras"] = _weights(best.read("model.weights.h5"))
    return digests


def model_digests(out: Path) -> Digests:
    """Digests of the weights of the newest version, and the names of its files."""
    version = max((p for p in out.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    names = {str(p.relative_to(version)): "" for p in version.rglob("*")}
    return names | {"weights": _digest((version / "variables" / "variables.data-00000-of-00001").read_bytes())}


def _weights(h5: bytes) -> str:
    """A digest of all arrays of a file of weights."""
    import io

    import h5py  # type: ignore[import-untyped]
    import numpy as np

    arrays: list[bytes] = []
    with h5py.File(io.BytesIO(h5)) as file:
        file.visititems(
            lambda name, item: (
                arrays.append(name.encode() + np.asarray(item).tobytes()) if isinstance(item, h5py.Dataset) else None
            )
        )
    return _digest(b"".join(sorted(arrays)))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def whole(name: str, out: Path) -> None:
    """What a killed command has left for others is whole, or not there."""
    if name == "prepare" and (out / "manifest.json").exists():
        qdfast.open_prepared(out, verify=True)
    if name == "export" and out.exists():
        from qdfast.storage.model_info import check_model

        for version in (p for p in out.iterdir() if p.name.isdigit()):
            assert check_model(version), f"{version} is not whole"


def loop(name: str, command: Command, kills: int, tmp: Path, seed: int = 0) -> str:
    """Kill a command so many times, and compare; returns a line about it.

    Raises:
        AssertionError: something is left that should not be, or is not as it should be.
    """
    rng = random.Random(seed)
    undisturbed, out = tmp / f"{name}-undisturbed", tmp / f"{name}-killed"
    begun = time.monotonic()
    command.finish(undisturbed)
    seconds = time.monotonic() - begun
    wanted = command.digests(undisturbed)
    killed = compared = 0
    while killed < kills:
        process = command.start(out)
        try:
            process.wait(rng.uniform(0, seconds * 1.1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=PROCESS_TIMEOUT)
        assert process.returncode in (0, -signal.SIGKILL), err.decode(errors="replace")[-2000:]
        killed += process.returncode != 0
        whole(name, out)
        if process.returncode == 0 or rng.random() < 0.15:
            compared += _compare(command, out, wanted)
    compared += _compare(command, out, wanted)
    return f"{name:<9}{killed:>6} kills{compared:>6} times compared: equal ({seconds:.1f} s undisturbed)"


def _compare(command: Command, out: Path, wanted: Digests) -> int:
    """Let the command end, compare what it has left, and begin anew."""
    command.finish(out)
    left = command.digests(out)
    assert left == wanted, {
        n: (left.get(n), wanted.get(n)) for n in left.keys() | wanted if left.get(n) != wanted.get(n)
    }
    shutil.rmtree(out)
    return 1


def commands(tmp: Path, names: Sequence[str]) -> dict[str, Command]:
    """The commands, with the input that they need."""
    drawings, data, run = tmp / "drawings", tmp / "data", tmp / "run"
    write_doodles(drawings, classes=["circle", "house", "star", "tree"], per_class=300, seed=1)
    prepare = Command(("prepare", str(drawings), "--recognized", "any"), False, tree)
    prepare.finish(data)
    train = Command(
        ("train", str(data), "--model", "tiny", "--epochs", "4", "--batch", "64", "--max-len", "64"), True, run_digests
    )
    if "export" in names:
        train.finish(run)
    every = {
        "prepare": prepare,
        "convert": Command(("convert", str(data), "--format", "ndjson"), False, tree),
        "train": train,
        "export": Command(("export", str(run)), True, model_digests),
    }
    return {name: every[name] for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for command, what in commands(Path(name), list(SHARES)).items():
            kills = max(1, options.kills * SHARES[command] // 100)
            print(loop(command, what, kills, Path(name), options.seed), flush=True)


if __name__ == "__main__":
    main()
