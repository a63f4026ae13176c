"""Does anybody notice when a version is published or taken back, or when a server is killed or stopped?

    python benchmarks/bench_reload.py MODEL_DIR [--drawings FILE] [--clients 20]

Two servers follow one model directory, and every client asks both. Under steady load a new version (the same network)
is published and taken back, one server killed and started again, the other stopped by SIGTERM and started again.
Milliseconds a call before, during and after each.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import cores, write_result
from load import TIMEOUT, Call, Heard, Job, Load, ServerProcess, percentiles, write_drawings

from qdfast.client import Client
from qdfast.serve.versions import newest_version


@dataclass(frozen=True)
class Phase:
    """Something that happened: from ``begun`` to ``ended``, in seconds since the epoch."""

    name: str
    begun: float
    ended: float

    def calls(self, heard: Heard) -> list[Call]:
        """Those that ended within it."""
        return [call for call in heard.calls if self.begun <= call.ended < self.ended]


def upheavals(first: Path, second: Path, drawings: Path, clients: int, pause: float) -> tuple[list[Phase], Heard]:
    """Put two servers and their clients through it all; what happened when, and what the clients saw.

    Args:
        first, second: SavedModels, served as versions 1 and 2.
        drawings: an ndjson file.
        clients: how many.
        pause: seconds before, after and between the upheavals.
    """
    phases: list[Phase] = []
    with ExitStack() as stack:
        tmp = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model_dir = tmp / "model"
        shutil.copytree(first, model_dir / "1")
        shutil.copytree(second, tmp / "2")
        servers = [stack.enter_context(ServerProcess(model_dir, "--poll-seconds=0.5")) for _ in range(2)]
        load = Load(Job("qdfast", [server.target for server in servers], str(drawings), 1, clients))

        def phase(name: str, happen: Callable[[], object]) -> None:
            begun = time.time()
            happen()
            phases.append(Phase(name, begun, time.time()))

        def publish() -> None:
            (tmp / "2").rename(model_dir / "2")
            wait_for(2)

        def take_back() -> None:
            (model_dir / "2").rename(tmp / "2")
            wait_for(1)

        def wait_for(version: int) -> None:
            for server in servers:
                with Client(server.target, model="model", timeout=TIMEOUT) as client:
                    while [v.version for v in client.model_status() if v.state == "AVAILABLE"] != [version]:
                        time.sleep(0.02)

        def again(server: ServerProcess, number: int) -> None:
            server.end(number)
            server.start()

        with load:
            for name, happen in (
                ("publish version 2", publish),
                ("take it back", take_back),
                ("SIGKILL one of two, start it", lambda: again(servers[0], signal.SIGKILL)),
                ("SIGTERM the other, start it", lambda: again(servers[1], signal.SIGTERM)),
            ):
                phase("steady", lambda: time.sleep(pause))
                phase(name, happen)
            phase("steady", lambda: time.sleep(pause))
            return phases, load.stop()


def rows(phases: list[Phase], heard: Heard) -> Iterator[dict[str, Any]]:
    for phase in phases:
        calls = phase.calls(heard)
        seen = {
            "calls": len(calls),
            "failed": sum(bool(call.error) for call in calls),
            "versions": sorted({call.version for call in calls}),
        }
        yield asdict(phase) | seen | percentiles(calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="exported; its newest version is used")
    parser.add_argument("--drawings", type=Path, metavar="FILE", help="ndjson to ask about; not given: doodles")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--pause", type=float, default=10.0, help="seconds of steady load between the upheavals")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    version = options.model_dir / str(newest_version(options.model_dir))
    with cores(options.cores), tempfile.TemporaryDirectory() as name:
        drawings = options.drawings or write_drawings(Path(name))
        phases, heard = upheavals(version, version, drawings, options.clients, options.pause)
    table = list(rows(phases, heard))
    print(f"{'':30} {'seconds':>8} {'calls':>7} {'failed':>6} {'p50 ms':>8} {'p99 ms':>8} {'versions':>9}")
    for row in table:
        print(
            f"{row['name']:30} {row['ended'] - row['begun']:8.1f} {row['calls']:7,} {row['failed']:6} "
            f"{row['p50_ms']:8.2f} {row['p99_ms']:8.2f} {', '.join(map(str, row['versions'])):>9}"
        )
    errors = sorted({call.error for call in heard.calls if call.error})
    print(*errors, sep="\n", end="\n" if errors else "")
    print(write_result("reload", {"cores_used": options.cores, "clients": options.clients, "rows": table}))


if __name__ == "__main__":
    main()
