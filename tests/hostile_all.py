"""Hostile input to everything that takes input from outside: the servers, the client, downloads and files.

    python tests/hostile_all.py 100000 [--seed N]

COUNT inputs are shared among the surfaces. The table says what became of them. The exit status is 1 if anything else than a
clean outcome was seen: an answer or an error that the surface may give, in one printable line.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile
import hostile_control
import hostile_files
import hostile_peers
import hostile_web
import tiny_model
from outcomes import Outcomes, table

SHARES = {"gRPC": 50, "reflection": 10, "reload": 2, "reload, allowed": 1, "REST": 12, "play": 6, "client": 10,
          "download": 3, "shards": 6}  # fmt: skip
"""Percent of the inputs."""


def predict(target: str, pid: int, count: int, seed: int) -> Outcomes:
    """Requests to PredictionService, whose answers are checked; and the server's memory."""
    outcomes = Outcomes("gRPC")
    try:
        driven = hostile.drive(target, pid, count, seed)
    except AssertionError as e:
        outcomes.unclean.append(str(e)[:1000])
        return outcomes
    outcomes.clean.update(driven.statuses)
    grown, peak = driven.rss_after - driven.rss_before, driven.rss_peak - driven.rss_before
    if grown > hostile.MAY_GROW or peak > hostile.MAY_PEAK:
        outcomes.unclean.append(f"the server's memory has grown: {driven}")
    return outcomes


def run(count: int, seed: int = 0) -> list[Outcomes]:
    """Attack all surfaces."""

    def share(surface: str) -> int:
        return max(10, count * SHARES[surface] // 100)

    rows: list[Outcomes] = []

    def attack(name: str, surface: Callable[..., Outcomes], *arguments: object, **options: object) -> None:
        start = time.monotonic()
        rows.append(surface(*arguments, share(name), seed=seed, **options))
        print(f"{name}: {rows[-1].total:,} inputs in {time.monotonic() - start:.0f} s", file=sys.stderr)

    with tempfile.TemporaryDirectory() as name:
        model_dir, root = Path(name, "models", "tiny"), Path(name, "root")
        model_dir.mkdir(parents=True)
        root.mkdir()
        (root / "out").symlink_to(model_dir)
        tiny_model.write_model(model_dir)
        with socket.create_server(("127.0.0.1", 0)) as free:
            rest_port = free.getsockname()[1]
        try:
            with hostile.server(model_dir, f"--rest-port={rest_port}") as (target, pid), page(target) as address:
                attack("gRPC", predict, target, pid)
                before = hostile.memory(pid, "VmRSS")
                attack("reflection", hostile_control.reflect, target)
                attack(
                    "reload",
                    lambda n, seed: hostile_control.reload(target, root, model_dir, n, allowed=False, seed=seed),
                )
                attack("REST", hostile_web.rest, f"http://127.0.0.1:{rest_port}")
                attack("play", hostile_web.play, address)
                if hostile.memory(pid, "VmRSS") > before + hostile.MAY_GROW:
                    rows[-1].unclean.append(f"the server has grown by more than {hostile.MAY_GROW} MiB")
            with hostile.server(model_dir, f"--allow-reload={model_dir.parent}") as (target, pid):
                attack("reload, allowed",
                       lambda n, seed: hostile_control.reload(target, model_dir.parent, model_dir, n, allowed=True, seed=seed))  # fmt: skip
        except AssertionError as e:  # a server did not end
            rows.append(Outcomes("servers", unclean=[str(e)]))
    attack("client", hostile_peers.client)
    attack("download", hostile_peers.download)
    attack("shards", hostile_files.shards)
    return rows


@contextmanager
def page(target: str) -> Iterator[str]:
    """The address of a web page that asks the server at ``target``, in a process of its own."""
    command = [sys.executable, "-m", "qdfast", "play", f"--target={target}", "--model=tiny", "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        assert process.poll() is None, f"the page's server ended with {process.returncode}"
    finally:
        process.terminate()
        try:
            process.communicate(timeout=hostile.STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError("the page's server did not end") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="inputs to send")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = run(options.count, options.seed)
    print(table(rows))
    sys.exit(any(row.unclean for row in rows))


if __name__ == "__main__":
    main()
