"""Compares `qdfast prepare` with threads and with Apache Beam, on one machine.

    python benchmarks/bench_beam.py DATA_DIR

Runs the command with threads, with Beam's Python runner in one process, and with Beam in one process per core. Inputs:
one drawing, the files in DATA_DIR, and 8 files of 125 MB made from their lines. The files that are written are compared
before any time is reported. The table gives the median of the seconds, including Python's start.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import QDFAST, repeat_lines, seconds, write_result

PROCESSES = f"--beam-arg=--direct_num_workers={os.cpu_count()}"
RUNNERS = {
    "threads": [],
    "Beam, one process": ["--runner", "beam"],
    "Beam, a process per core": ["--runner", "beam", "--beam-arg=--direct_running_mode=multi_processing", PROCESSES],
}


def run(runner: str, source: Path, out: Path) -> float:
    """How many seconds the command takes."""
    command = [*QDFAST, "prepare", str(source), "--recognized", "any", "--out", str(out), *RUNNERS[runner]]
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True))


def equal(one: Path, other: Path) -> bool:
    """Whether two prepared directories have the same files."""
    names = [sorted(str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()) for out in (one, other)]
    return names[0] == names[1] and filecmp.cmpfiles(one, other, names[0], shallow=False)[0] == names[0]


def make_inputs(data: Path, tmp: Path, megabytes: int) -> dict[str, Path]:
    """Write the inputs; returns their paths by name."""
    files = sorted(data.glob("*.ndjson"))
    one, many = tmp / "one", tmp / "many"
    one.mkdir()
    many.mkdir()
    (one / "cat.ndjson").write_bytes(files[0].read_bytes().split(b"\n")[0])
    for number in range(8):
        repeat_lines(files, many / f"class {number}.ndjson", megabytes * 10**6 // 8)
    return {"one drawing": one, data.name: data, f"{megabytes:,} MB": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of .ndjson files")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the largest input (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        tmp = Path(directory)
        for name, source in make_inputs(options.data, tmp, options.megabytes).items():
            times: dict[str, list[float]] = {runner: [] for runner in RUNNERS}
            for _ in range(options.rounds):
                for runner in RUNNERS:
                    times[runner].append(run(runner, source, tmp / runner))
                if not all(equal(tmp / "threads", tmp / runner) for runner in RUNNERS):
                    sys.exit(f"{name}: the files differ")
                for runner in RUNNERS:
                    shutil.rmtree(tmp / runner)
            size = sum(file.stat().st_size for file in source.iterdir())
            rows.append({"input": name, "input_mb": round(size / 1e6, 1), "seconds": times})
            for runner, took in times.items():
                print(f"{name:>12} {size / 1e6:8.1f} MB  {runner:24} {statistics.median(took):7.2f} s")
    print(write_result("beam", {"apache_beam": version("apache-beam"), "rows": rows}))


if __name__ == "__main__":
    main()
