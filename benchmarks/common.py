"""Shared by the benchmarks: inputs, timing, pinning to cores, parallel commands, results as JSON."""

from __future__ import annotations

import json
import os
import platform
import queue
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qdfast.dataset.prepared import open_prepared
from qdfast.storage.names import MANIFEST

QDFAST = [sys.executable, "-m", "qdfast"]
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """CPU, system and versions, stored with every result."""
    cpu = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    packages = {name: version(name) for name in ("qdfast", "numpy", "orjson", "xxhash")}
    used = ("keras", "tensorflow", "jax", "torch")
    packages |= {name: sys.modules[name].__version__ for name in used if name in sys.modules}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "packages": packages,
    }


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/<name>.json``, with the machine and the command, and print ``changes`` from the last one."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    arguments = [Path(a).name if "/" in a else a for a in sys.argv[1:]]  # keep local directories out of the result
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    result = {"command": command, "machine": machine(), **result}
    before = json.loads(path.read_bytes()) if path.exists() else None
    path.write_text(json.dumps(result, indent=2) + "\n")
    if before:
        print("\n".join(changes(before, result)))
    return path


def changes(before: dict[str, Any], after: dict[str, Any], tolerance: float = 0.1) -> list[str]:
    """What differs by more than ``tolerance`` from an earlier result, as lines of text: the rates, row by row."""
    for what, old, new in (
        ("CPU", before["machine"]["cpu"], after["machine"]["cpu"]),
        ("command", before["command"], after["command"]),
    ):
        if old != new:
            return [f"not compared with the last result, which is of another {what}: {old}"]

    def rates(result: dict[str, Any]) -> dict[str, float]:
        tables = {table: rows for table, rows in result.items() if isinstance(rows, list)}
        return {
            " ".join(str(part) for part in (table, row["name"], row.get("threads", ""), key) if part): value
            for table, rows in tables.items()
            for row in rows
            if isinstance(row, dict) and "name" in row
            for key, value in row.items()
            if key.endswith("_per_s") and value
        }

    old, new = rates(before), rates(after)
    lines = [
        f"{name}: {new[name] / old[name]:.2f} of the last result ({old[name]:,.0f} -> {new[name]:,.0f})"
        for name in old
        if name in new and abs(new[name] / old[name] - 1) > tolerance
    ]
    return lines or [f"within {tolerance:.0%} of the last result: {len(old.keys() & new.keys())} rates"]


def repeat_lines(sources: list[Path], path: Path, size: int) -> int:
    """Repeat the lines of ``sources`` until ``path`` has at least ``size`` bytes; returns the number of lines."""
    lines = b"".join(f.read_bytes() for f in sources).splitlines(keepends=True)
    written = 0
    with path.open("wb") as file:
        while file.tell() < size:
            part = lines[: max(1, (size - file.tell()) * len(lines) // sum(map(len, lines)))]
            file.writelines(part)
            written += len(part)
    return written


def sample_lines(sources: Sequence[Path], directory: Path, count: int) -> list[Path]:
    """Write ``count`` lines, sampled from all ``sources`` with a fixed seed, into files of the same names.

    Returns the files in the order of their classes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lines = [(source.name, line) for source in sources for line in source.read_bytes().splitlines()]
    chosen: dict[str, list[bytes]] = {}
    for i in sorted(random.Random(0).sample(range(len(lines)), min(count, len(lines)))):
        name, line = lines[i]
        chosen.setdefault(name, []).append(line + b"\n")
    for name, some in chosen.items():
        Path(directory, name).write_bytes(b"".join(some))
    return sorted((Path(directory, name) for name in chosen), key=lambda file: file.stem)


def prepare_once(files: Sequence[Path], out: Path) -> None:
    """Run `qdfast prepare` on all drawings, unless ``out`` holds them already; exits if it holds other data."""
    if not (out / MANIFEST).exists():
        subprocess.run([*QDFAST, "prepare", *map(str, files), "--recognized", "any", "--out", str(out)], check=True)
        return
    there = open_prepared(out).manifest
    known = sorted((source["label"], source["size"]) for source in there["sources"])
    if known != sorted((f.stem, f.stat().st_size) for f in files) or there["options"]["recognized"] != "any":
        sys.exit(f"{out}: prepared from other files; use another --out")


class Variant(NamedTuple):
    """A model with an optional recipe (default: its own) and precision (float32): ``model[+recipe][@precision]``."""

    name: str
    model: str
    recipe: str | None
    precision: str | None

    @classmethod
    def parse(cls, text: str) -> Variant:
        match = re.fullmatch(r"(\w+)(?:\+(\w+))?(?:@(\w+))?", text)
        if match is None:
            raise ArgumentTypeError(f"{text!r} is not model[+recipe][@precision]")
        return cls(text, *match.groups())

    @property
    def arguments(self) -> dict[str, str]:
        """The arguments for ``train``."""
        return {key: value for key, value in self._asdict().items() if value is not None and key != "name"}


def half_width(by_seed: Sequence[float], drawn: float) -> float:
    """Half of the 95 % confidence interval of a mean over seeds.

    The interval covers the choice of drawings and the choice of seeds. ``drawn`` is the standard error due to the
    choice of drawings, which more seeds do not reduce. The share of the seeds uses Student's t and is 0 for a single
    seed. Variation due to both is counted twice, so the interval is slightly too wide.
    """
    from scipy.stats import t

    n = len(by_seed)
    seeds = t.ppf(0.975, n - 1) * statistics.stdev(by_seed) / n**0.5 if n > 1 else 0.0
    return float(((1.96 * drawn) ** 2 + seeds**2) ** 0.5)


def run_all(tasks: Mapping[str, Sequence[Sequence[str]]], jobs: int, logs: Path) -> Iterator[tuple[str, bool]]:
    """Run each task's commands one after another, ``jobs`` tasks at once, each on its own share of the cores.

    Their output goes to ``logs/<task>.log``. Yields each task when it ends, and whether all its commands succeeded.
    """
    logs.mkdir(parents=True, exist_ok=True)
    running: set[subprocess.Popen[bytes]] = set()
    shares: queue.Queue[list[int]] = queue.Queue()
    pinned = hasattr(os, "sched_setaffinity")
    all_cores = sorted(os.sched_getaffinity(0)) if pinned else []
    for i in range(jobs):
        shares.put(all_cores[i % max(1, len(all_cores)) :: jobs])

    def begin() -> None:
        if pinned:
            os.sched_setaffinity(0, shares.get())  # applies to this thread and the processes it starts

    def run(task: str) -> bool:
        with (logs / f"{task}.log").open("ab") as log:
            for command in tasks[task]:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                running.add(process)
                failed = process.wait()
                running.discard(process)
                if failed:
                    return False
        return True

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = ThreadPoolExecutor(jobs, initializer=begin)
    try:
        futures = {pool.submit(run, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except KeyboardInterrupt:
        sys.exit("interrupted; repeat the command to resume")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):
            process.terminate()
        pool.shutdown()


@contextmanager
def cores(n: int) -> Iterator[None]:
    """Pin this process to ``n`` cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:n])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def memory_bandwidth(threads: int = 1) -> float:
    """Bytes a second that ``threads`` threads read and write together, copying arrays that no cache holds."""
    size = 64 << 20
    arrays = [(np.ones(size, np.uint8), np.ones(size, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        times = [seconds(lambda: list(pool.map(lambda pair: np.copyto(*pair), arrays))) for _ in range(9)]
    return 2 * size * threads / statistics.median(times)


def seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
