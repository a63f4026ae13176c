"""A server of the tiny model under mixed load: its memory, open files and threads must not grow.

    python tests/soak.py 10

The load: clients that stay and clients that come and go, by gRPC and REST; requests for status, metadata, health, reflection and
metrics; hostile requests; and versions that come and go. Prints a line a minute, ten in all if it takes less than ten minutes.
The exit status is 1 if the last third of the samples is above the middle third, or if a good call failed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc
import hostile
import httpx
import numpy as np
import tiny_model
from hostile_control import HEALTH, REFLECTION, mutate
from scripted_server import drawings, expected

from qdfast.client import Client
from qdfast.client.channel import PREDICT
from qdfast.protocol import messages

MAY_GROW = 0.05, 24.0
"""Share and MiB of memory by which the last third of the samples may be above the middle third; more is a leak."""

MAY_VARY = 8  # open files, and threads: of connections that are being closed


class Sample(NamedTuple):
    """What a process has."""

    rss: float
    files: int
    threads: int


def sample(pid: int) -> Sample:
    """What process ``pid`` has now; memory in MiB."""
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(hostile.memory(pid, "VmRSS"), files, len(list(Path(f"/proc/{pid}/task").iterdir())))


def grown(samples: list[Sample]) -> list[str]:
    """What is higher in the last third of the samples than in the middle third."""
    third = max(1, len(samples) // 3)
    middle, last = samples[-2 * third : -third], samples[-third:]
    share, mib = MAY_GROW
    before, after = (statistics.median(s.rss for s in part) for part in (middle, last))
    errors = [f"memory: {before:.0f} -> {after:.0f} MiB"] if after > before * (1 + share) + mib else []
    for name in ("files", "threads"):
        before, after = (max(getattr(s, name) for s in part) for part in (middle, last))
        errors += [f"{name}: {before} -> {after}"] if after > before + MAY_VARY else []
    return errors


@dataclass
class Load:
    """The threads that make the load.

    Attributes:
        calls: by kind.
        errors: of good calls.
    """

    target: str
    rest: str
    model_dir: Path
    spare: Path

    def __post_init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.errors: list[str] = []
        self._stop = threading.Event()
        kinds = (self._stay, self._stay, self._come_and_go, self._ask_rest, self._look, self._attack, self._publish)
        self._threads = [threading.Thread(target=self._repeat, args=(kind, i)) for i, kind in enumerate(kinds)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the load."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, kind: Callable[[random.Random], None], seed: int) -> None:
        rng = random.Random(seed)
        while not self._stop.is_set():
            try:
                kind(rng)
                self.calls[kind.__name__.strip("_")] += 1
            except Exception as e:
                self.errors.append(f"{kind.__name__.strip('_')}: {type(e).__name__}: {e}")
                self._stop.wait(0.1)

    def _predict(self, client: Client, rng: random.Random) -> None:
        asked = drawings([rng.randint(2, 60) for _ in range(rng.randint(1, 20))], seed=rng.randint(0, 999))
        np.testing.assert_allclose(client.probabilities(asked), expected(asked), atol=1e-5)

    def _stay(self, rng: random.Random) -> None:
        with Client(self.target, model="tiny", version=1, timeout=30) as client:
            for _ in range(200):
                if not self._stop.is_set():
                    self._predict(client, rng)

    def _come_and_go(self, rng: random.Random) -> None:
        with Client(self.target, model="tiny", version=1, timeout=30) as client:
            self._predict(client, rng)

    def _ask_rest(self, rng: random.Random) -> None:
        body = {"inputs": {"deltas": [[[rng.randint(-9, 9), 1, 1]]], "lengths": [1]}}
        with httpx.Client(timeout=30) as client:
            for _ in range(rng.randint(1, 5)):
                assert client.post(f"{self.rest}/v1/models/tiny/versions/1:predict", json=body).status_code == 200

    def _look(self, rng: random.Random) -> None:
        with Client(self.target, model="tiny", timeout=30) as client:
            assert client.model_status()
            assert client.metadata().signatures
        assert httpx.get(f"{self.rest}/monitoring/prometheus/metrics", timeout=30).status_code == 200

    def _attack(self, rng: random.Random) -> None:
        good = messages.predict_request(
            "tiny", 1, "", dict(zip(("deltas", "lengths"), drawings([3, 9]).deltas(dtype=np.int16), strict=True))
        )
        with grpc.insecure_channel(self.target) as channel:
            for method in (PREDICT, *REFLECTION, *HEALTH[:1]):
                data = mutate(rng, good.SerializeToString())
                with suppress(grpc.RpcError):
                    channel.unary_unary(method)(data, timeout=30)

    def _publish(self, rng: random.Random) -> None:
        version = self.model_dir / "2"
        shutil.copytree(self.spare, self.model_dir / ".2")
        (self.model_dir / ".2").rename(version)
        self._stop.wait(4)
        version.rename(self.model_dir / ".gone")
        shutil.rmtree(self.model_dir / ".gone")
        self._stop.wait(4)


def soak(minutes: float, log: Callable[[str], None] = print) -> list[str]:
    """Load a server; returns what is wrong."""
    interval = min(60.0, minutes * 6)
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        model_dir, rest_port = Path(name, "tiny"), free.getsockname()[1]
        free.close()
        model_dir.mkdir()
        tiny_model.write_model(model_dir)
        spare = tiny_model.write_model(Path(name), 2)
        # Both versions stay loaded, so that version 1 can be asked all the time.
        config = Path(name, "models.config")
        config.write_text(
            f'model_config_list {{ config {{ name: "tiny" base_path: "{model_dir}" model_platform: "tensorflow" '
            "model_version_policy { all {} } } }"
        )
        options = ("--poll-seconds=0.5", f"--rest-port={rest_port}", f"--metrics-port={rest_port}")
        with hostile.server(config, *options) as (target, pid):
            load = Load(target, f"http://127.0.0.1:{rest_port}", model_dir, spare)
            samples: list[Sample] = []
            log(f"{'minute':>7}{'calls':>9}{'errors':>8}{'RSS MiB':>9}{'files':>7}{'threads':>9}")
            start = time.monotonic()
            while len(samples) * interval < minutes * 60:
                time.sleep(max(0.0, start + (len(samples) + 1) * interval - time.monotonic()))
                samples.append(now := sample(pid))
                minute = (time.monotonic() - start) / 60
                log(
                    f"{minute:7.1f}{load.calls.total():9,}{len(load.errors):8}{now.rss:9.0f}{now.files:7}{now.threads:9}"
                )
            load.stop()
    log(f"calls: {', '.join(f'{n:,} {kind}' for kind, n in load.calls.most_common())}")
    return grown(samples) + load.errors[:5]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", type=float)
    wrong = soak(parser.parse_args().minutes)
    for line in wrong:
        print(f"NOT FLAT OR FAILED: {line}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
