"""Counts the scanner's instructions per byte. The count does not depend on the load of the machine.

    python benchmarks/bench_instructions.py [--check]

Compiles scan_driver.c with `cc -O3` and runs it under valgrind's callgrind on procedural doodles (seed 0), once with
one round and once with two. The difference is one scan. valgrind does not support AVX-512. --check compares with
results/instructions.json instead of writing it, and fails if a level takes over 3 % more instructions. It compares
only counts from the same compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import RESULTS, write_result

from qdfast._core import LEVELS
from qdfast.quickdraw.doodles import write_doodles

ROOT = Path(__file__).parent.parent


def count(program: Path, level: int, data: Path) -> int | None:
    """Instructions of one scan; None if valgrind does not support the level."""
    total = []
    for rounds in (1, 2):
        command = [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            str(program),
            str(level),
            str(data),
            str(rounds),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 4:
            return None
        if done.returncode:
            sys.exit(f"scan_driver failed: {done.stderr.strip().splitlines()[-1]}")
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found
        total.append(int(found[1]))
    return total[1] - total[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the stored counts")
    options = parser.parse_args()
    compiler = os.environ.get("CC", "cc")
    for tool in (compiler, "valgrind"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed; no instructions were counted")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    with tempfile.TemporaryDirectory() as tmp:
        program, data = Path(tmp, "scan_driver"), Path(tmp, "doodles.ndjson")
        sources = [ROOT / "benchmarks/scan_driver.c", *sorted((ROOT / "csrc").glob("scan*.c"))]
        subprocess.run([compiler, "-O3", f"-I{ROOT / 'csrc'}", *sources, "-o", program], check=True)
        data.write_bytes(b"".join(f.read_bytes() for f in write_doodles(Path(tmp, "doodles"), per_class=100, seed=0)))
        size = data.stat().st_size
        rows = []
        for level, name in enumerate(LEVELS):
            instructions = count(program, level, data)
            if instructions is None:
                print(f"{name:10} not counted: valgrind does not support it")
                continue
            rows.append({"level": name, "instructions": instructions, "per_byte": round(instructions / size, 3)})
            print(f"{name:10} {instructions / size:8.3f} instructions per byte")
    if not options.check:
        print(write_result("instructions", {"compiler": version, "bytes": size, "rows": rows}))
        return
    stored = json.loads((RESULTS / "instructions.json").read_text())
    if stored["compiler"] != version or stored["bytes"] != size:
        print(f"not compared: stored counts are for {stored['compiler']}, {stored['bytes']:,} bytes; this is {version}")
        return
    before = {row["level"]: row["per_byte"] for row in stored["rows"]}
    slower = [r for r in rows if r["level"] in before and r["per_byte"] > 1.03 * before[r["level"]]]
    for row in slower:
        print(
            f"{row['level']}: {row['per_byte']} instructions per byte; stored: {before[row['level']]}", file=sys.stderr
        )
    sys.exit(bool(slower))


if __name__ == "__main__":
    main()
