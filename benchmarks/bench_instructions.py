"""Counts the scanner's instructions per byte. The count does not depend on the load of the machine.

    python benchmarks/bench_instructions.py [--check]

Compiles scan_driver.c with `cc -O3` and runs it under valgrind's callgrind on procedural doodles (seed 0), once with
one round and once with two. The difference is one scan. Input: compact, as Google writes lines; spaced, as json.dumps
writes the same; raw, the same drawings with decimals and times. valgrind does not support AVX-512. With --arm64, arm64
code is counted, too: 200 lines, by aarch64-linux-gnu-gcc and qemu-aarch64-static. --check compares with
results/instructions.json instead of writing it, and fails if a level takes over 3 % more instructions. It compares only
counts from the same compiler.
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
ARM64 = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static")


def build(compiler: str, program: Path, *options: str) -> None:
    sources = [*sorted((ROOT / "csrc").glob("scan*.c")), ROOT / "csrc/simplify.c", ROOT / "benchmarks/scan_driver.c"]
    flags = ["-O3", "-ffp-contract=off", *options, f"-I{ROOT / 'csrc'}"]
    subprocess.run([compiler, *flags, *map(str, sources), "-lm", "-o", str(program)], check=True)


def write_inputs(directory: Path) -> dict[str, Path]:
    """A file of lines for each input."""
    files = write_doodles(directory / "doodles", per_class=100, seed=0)
    lines = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    raw = [{**line, "drawing": [raw_stroke(*stroke) for stroke in line["drawing"]]} for line in lines]
    texts = {
        "compact": [json.dumps(line, separators=(",", ":")) for line in lines],
        "spaced": [json.dumps(line) for line in lines],
        "raw": [json.dumps(line, separators=(",", ":")) for line in raw],
    }
    out = {}
    for name, text in texts.items():
        out[name] = directory / f"{name}.ndjson"
        out[name].write_text("".join(line + "\n" for line in text))
    return out


def raw_stroke(x: list[int], y: list[int]) -> list[list[float]]:
    return [[v * 1.2345678901234567 for v in x], [v / 3 for v in y], [17 * i for i in range(len(x))]]


def count(program: Path, level: str, data: Path) -> int | None:
    """Instructions of one scan; None if valgrind does not support the level."""
    total = []
    for rounds in (1, 2):
        command = [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            str(program),
            level,
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


def count_arm64(program: Path, level: str, data: Path) -> int:
    """Instructions of one scan, one by one in qemu's log."""
    total = []
    for rounds in ("1", "2"):
        command = [
            ARM64[1],
            "-singlestep",
            "-d",
            "nochain,exec",
            "-D",
            "/dev/stdout",
            str(program),
            level,
            str(data),
            rounds,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            total.append(sum(line.startswith(b"Trace") for line in process.stdout))
        if process.returncode:
            sys.exit(f"scan_driver failed under qemu: exit status {process.returncode}")
    return total[1] - total[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the stored counts")
    parser.add_argument("--arm64", action="store_true", help="count arm64 code, too")
    options = parser.parse_args()
    compiler = os.environ.get("CC", "cc")
    for tool in (compiler, "valgrind", *ARM64 * options.arm64):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed; no instructions were counted")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    with tempfile.TemporaryDirectory() as tmp:
        program = Path(tmp, "scan_driver")
        build(compiler, program)
        inputs = write_inputs(Path(tmp))
        size = inputs["compact"].stat().st_size
        rows = []
        levels = [(name, text, str(level)) for text in ("compact", "spaced") for level, name in enumerate(LEVELS)]
        for name, text, level in [*levels, ("portable", "raw", "raw")]:
            instructions = count(program, level, inputs[text])
            if instructions is None:
                print(f"{name:14} {text:10} not counted: valgrind does not support it")
                continue
            per_byte = round(instructions / inputs[text].stat().st_size, 3)
            rows.append({"level": name, "input": text, "instructions": instructions, "per_byte": per_byte})
            print(f"{name:14} {text:10} {per_byte:8.3f} instructions per byte")
        if options.arm64:
            build(ARM64[0], program, "-static")
            for text in ("compact", "spaced"):
                few = Path(tmp, "few.ndjson")
                few.write_bytes(b"".join(inputs[text].read_bytes().splitlines(keepends=True)[:200]))
                for number, name in enumerate(("arm64 portable", "neon")):
                    instructions = count_arm64(program, str(number), few)
                    per_byte = round(instructions / few.stat().st_size, 3)
                    rows.append({"level": name, "input": text, "instructions": instructions, "per_byte": per_byte})
                    print(f"{name:14} {text:10} {per_byte:8.3f} instructions per byte")
    if not options.check:
        print(write_result("instructions", {"compiler": version, "bytes": size, "rows": rows}))
        return
    stored = json.loads((RESULTS / "instructions.json").read_text())
    if stored["compiler"] != version or stored["bytes"] != size:
        print(f"not compared: stored counts are for {stored['compiler']}, {stored['bytes']:,} bytes; this is {version}")
        return
    before = {(row["level"], row["input"]): row["per_byte"] for row in stored["rows"]}
    slower = [r for r in rows if r["per_byte"] > 1.03 * before.get((r["level"], r["input"]), r["per_byte"])]
    for row in slower:
        print(
            f"{row['level']}, {row['input']}: {row['per_byte']} instructions per byte; "
            f"stored: {before[row['level'], row['input']]}",
            file=sys.stderr,
        )
    sys.exit(bool(slower))


if __name__ == "__main__":
    main()
