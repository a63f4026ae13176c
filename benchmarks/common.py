"""What the benchmarks share: input, clock and cores, the machine in words, results as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """CPU, system and versions: what a number is worth nothing without."""
    cpu = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    packages = {name: version(name) for name in ("qdfast", "numpy", "orjson", "xxhash")}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "packages": packages,
    }


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/<name>.json``, with the machine and the command."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    arguments = [
        Path(a).name if "/" in a else a for a in sys.argv[1:]
    ]  # whose directories these are is nobody's business
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    path.write_text(json.dumps({"command": command, "machine": machine(), **result}, indent=2) + "\n")
    return path


def repeat_lines(sources: list[Path], path: Path, size: int) -> int:
    """Write the lines of ``sources`` again and again until ``path`` has ``size`` bytes or a little more; how many."""
    lines = b"".join(f.read_bytes() for f in sources).splitlines(keepends=True)
    written = 0
    with path.open("wb") as file:
        while file.tell() < size:
            part = lines[: max(1, (size - file.tell()) * len(lines) // sum(map(len, lines)))]
            file.writelines(part)
            written += len(part)
    return written


@contextmanager
def cores(n: int) -> Iterator[None]:
    """Bind this process to ``n`` cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:n])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
