"""How fast is `qdfast prepare`, and does its memory grow with the input?

    python benchmarks/bench_prepare.py [DATA_DIR]

Runs the command on files of 16 MB to 4 GB in one class, made of the lines in DATA_DIR (default: procedural doodles),
and reports the median of its seconds, start of Python included, MB/s of ndjson and the peak resident memory of the
process. Sources are in the page cache; so are the shards when it ends.
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

from common import repeat_lines, write_result

from qdfast.doodles import write_doodles
from qdfast.shards import open_prepared


def run(source: Path, out: Path) -> tuple[float, float]:
    """Seconds and peak resident MiB of the command. This process stays small: a child's peak begins at its parent's."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "qdfast", "prepare", str(source), "--recognized", "any", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("qdfast prepare failed")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[16, 256, 1000, 4000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(Path(tmp, "doodles"))
        print(f"{'input MB':>9} {'drawings':>10} {'seconds':>8} {'MB/s':>6} {'peak RSS MiB':>13}")
        for megabytes in options.megabytes:
            source = Path(tmp, f"{megabytes}.ndjson")
            lines = repeat_lines(files, source, megabytes * 10**6)
            times, peak = [], 0.0
            for _ in range(options.rounds):
                out = Path(tmp, f"out{megabytes}")
                took, rss = run(source, out)
                drawings = sum(open_prepared(out).counts().values())
                if drawings != lines:
                    sys.exit(f"{drawings} drawings prepared of {lines}")
                times.append(took)
                peak = max(peak, rss)
                shutil.rmtree(out)
            took = statistics.median(times)
            size = source.stat().st_size / 1e6
            rows.append({
                "input_mb": round(size, 1), "drawings": drawings, "seconds": [round(s, 3) for s in times],
                "mb_per_s": round(size / took), "peak_rss_mib": round(peak),
            })  # fmt: skip
            print(f"{size:9.0f} {drawings:10,} {took:8.2f} {size / took:6.0f} {peak:13.0f}")
            source.unlink()
    print(write_result("prepare", {"input": str(options.data.name if options.data else "doodles"), "rows": rows}))


if __name__ == "__main__":
    main()
