"""Measures the speed and the peak memory of `qdfast prepare` as the input grows.

    python benchmarks/bench_prepare.py [DATA_DIR] [--megabytes 1000 4000 16000] [--classes 345]

Runs the command on 16 MB to 4 GB of input made from the lines in DATA_DIR (default: procedural doodles). The table
gives the median of the seconds and of the CPU seconds (user and system; both with Python's start), MB/s of ndjson and
the peak resident memory of the process. With three sizes or more it also fits a line to the times. The sources are in
the page cache, and so are the shards at the end.

--classes splits the input into that many files, which are hard links to one file: they take little disk space, but are
read, parsed and written like different files, because the class is the file's name. Prepared data take about two fifths
of the input's size.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import repeat_lines, write_result

from qdfast.dataset.prepared import open_prepared
from qdfast.quickdraw.doodles import write_doodles


def make_input(files: list[Path], directory: Path, size: int, classes: int) -> tuple[int, int]:
    """Write ``classes`` files of at least ``size`` bytes in total; returns their bytes and lines."""
    directory.mkdir()
    first = directory / "class 0.ndjson"
    lines = repeat_lines(files, first, size // classes)
    for number in range(1, classes):
        (directory / f"class {number}.ndjson").hardlink_to(first)
    return classes * first.stat().st_size, classes * lines


def fit(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Fit a line to the median seconds over the input in GB, by least squares."""
    x = [row["input_mb"] / 1000 for row in rows]
    y = [statistics.median(row["seconds"]) for row in rows]
    slope, start = statistics.linear_regression(x, y)
    return {
        "seconds_per_gb": round(slope, 3),
        "seconds_to_start": round(start, 3),
        "r_squared": round(statistics.correlation(x, y) ** 2, 5),
    }


def run(source: Path, out: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak resident MiB of the command. A child's peak starts at its parent's: stay small."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "qdfast", "prepare", str(source), "--recognized", "any", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("qdfast prepare failed")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files; default: procedural doodles")
    parser.add_argument(
        "--megabytes", type=int, nargs="+", default=[16, 256, 1000, 4000], help="(default: 16 256 1000 4000)"
    )
    parser.add_argument("--classes", type=int, default=1, help="number of files (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument(
        "--result", default="prepare", metavar="NAME", help="write results/NAME.json (default: %(default)s)"
    )
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(Path(tmp, "doodles"))
        print(f"{'input MB':>9} {'drawings':>10} {'seconds':>8} {'CPU s':>6} {'MB/s':>6} {'peak RSS MiB':>13}")
        for megabytes in options.megabytes:
            source = Path(tmp, str(megabytes))
            size, lines = make_input(files, source, megabytes * 10**6, options.classes)
            times, cpu_times, peak = [], [], 0.0
            for _ in range(options.rounds):
                out = Path(tmp, f"out{megabytes}")
                took, cpu, rss = run(source, out)
                drawings = sum(open_prepared(out).counts().values())
                if drawings != lines:
                    sys.exit(f"{drawings} of {lines} drawings were prepared")
                times.append(took)
                cpu_times.append(cpu)
                peak = max(peak, rss)
                shutil.rmtree(out)
            took, cpu = statistics.median(times), statistics.median(cpu_times)
            rows.append({
                "input_mb": round(size / 1e6, 1), "classes": options.classes, "drawings": drawings,
                "seconds": [round(s, 3) for s in times], "cpu_seconds": [round(s, 3) for s in cpu_times],
                "mb_per_s": round(size / took / 1e6), "peak_rss_mib": round(peak),
            })  # fmt: skip
            print(f"{size / 1e6:9.0f} {drawings:10,} {took:8.2f} {cpu:6.2f} {size / took / 1e6:6.0f} {peak:13.0f}")
            shutil.rmtree(source)
    result: dict[str, Any] = {"input": options.data.name if options.data else "doodles", "rows": rows}
    if len(rows) > 2:
        result["line"] = fit(rows)
        print("{seconds_to_start} s + {seconds_per_gb} s/GB, R² {r_squared}".format(**result["line"]))
    print(write_result(options.result, result))


if __name__ == "__main__":
    main()
