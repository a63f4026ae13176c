"""Measures what clients notice of new model versions and of servers that are killed or stopped.

    python benchmarks/bench_reload.py MODEL_DIR [--drawings FILE] [--clients 20]

Two servers watch one model directory, and every client uses both. Under steady load, a new version (the same network)
is published and withdrawn, one server is killed and restarted, and the other is stopped with SIGTERM and restarted.
The table gives milliseconds per call before, during and after each event.
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
from load import TIMEOUT, Call, Job, Load, LoadResult, ServerProcess, percentiles, write_drawings

from qdfast.client import Client
from qdfast.storage.versions import newest_version


@dataclass(frozen=True)
class Phase:
    """A period of the benchmark, from ``begun`` to ``ended`` in seconds since the epoch."""

    name: str
    begun: float
    ended: float

    def calls(self, result: LoadResult) -> list[Call]:
        """The calls that ended within it."""
        return [call for call in result.calls if self.begun <= call.ended < self.ended]


def run_events(first: Path, second: Path, drawings: Path, clients: int, pause: float) -> tuple[list[Phase], LoadResult]:
    """Run two servers under load, and publish, withdraw, kill and stop. Returns the phases and what the clients saw.

    Args:
        first, second: SavedModels, served as versions 1 and 2.
        drawings: an ndjson file.
        clients: number of clients.
        pause: seconds of steady load before, between and after the events.
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

        def withdraw() -> None:
            (model_dir / "2").rename(tmp / "2")
            wait_for(1)

        def wait_for(version: int) -> None:
            for server in servers:
                with Client(server.target, model="model", timeout=TIMEOUT) as client:
                    while [v.version for v in client.model_status() if v.state == "AVAILABLE"] != [version]:
                        time.sleep(0.02)

        def restart(server: ServerProcess, number: int) -> None:
            server.end(number)
            server.start()

        with load:
            for name, happen in (
                ("publish version 2", publish),
                ("withdraw version 2", withdraw),
                ("SIGKILL and restart one server", lambda: restart(servers[0], signal.SIGKILL)),
                ("SIGTERM and restart the other", lambda: restart(servers[1], signal.SIGTERM)),
            ):
                phase("steady", lambda: time.sleep(pause))
                phase(name, happen)
            phase("steady", lambda: time.sleep(pause))
            return phases, load.stop()


def rows(phases: list[Phase], result: LoadResult) -> Iterator[dict[str, Any]]:
    for phase in phases:
        calls = phase.calls(result)
        seen = {
            "calls": len(calls),
            "failed": sum(bool(call.error) for call in calls),
            "versions": sorted({call.version for call in calls}),
        }
        yield {**asdict(phase), **seen, **percentiles(calls)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="model directory; its newest version is used")
    parser.add_argument("--drawings", type=Path, metavar="FILE", help="ndjson file to classify; default: doodles")
    parser.add_argument("--clients", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, default=10.0, help="seconds of steady load between the events (default: %(default)s)"
    )
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: %(default)s)")
    options = parser.parse_args()
    version = options.model_dir / str(newest_version(options.model_dir))
    with cores(options.cores), tempfile.TemporaryDirectory() as name:
        drawings = options.drawings or write_drawings(Path(name))
        phases, result = run_events(version, version, drawings, options.clients, options.pause)
    table = list(rows(phases, result))
    print(f"{'':30} {'seconds':>8} {'calls':>7} {'failed':>6} {'p50 ms':>8} {'p99 ms':>8} {'versions':>9}")
    for row in table:
        print(
            f"{row['name']:30} {row['ended'] - row['begun']:8.1f} {row['calls']:7,} {row['failed']:6} "
            f"{row['p50_ms']:8.2f} {row['p99_ms']:8.2f} {', '.join(map(str, row['versions'])):>9}"
        )
    errors = sorted({call.error for call in result.calls if call.error})
    print(*errors, sep="\n", end="\n" if errors else "")
    print(write_result("reload", {"cores_used": options.cores, "clients": options.clients, "rows": table}))


if __name__ == "__main__":
    main()
