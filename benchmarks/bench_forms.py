"""Measures how fast files in other formats than ndjson become columns, on one thread, in CPU time.

    python benchmarks/bench_forms.py [DATA_DIR]

DATA_DIR holds .ndjson files (default: procedural doodles). Columns are compared with those of the ndjson before
anything is timed, rounds alternate between the contestants, and the table gives medians and the best. Files are in the
page cache.

    .bin    Google's binary format: in batches (iter_ndjson: memory is used again), and as a whole (read_ndjson)
    CSV     as Kaggle's train_simplified; compared with Python's csv.reader and pyarrow's reader, which leave the
            drawing as text
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from common import repeat_lines

import qdfast
from qdfast.formats.google_binary import format_binary
from qdfast.quickdraw.doodles import write_doodles

SIZE = 200 << 20  # bytes of .bin
CSV_SIZE = 40 << 20  # bytes of the lines that the table is made of
ROUNDS = 7

Contestants: TypeAlias = dict[str, tuple[Callable[[Path], object], Path]]


def table(lines: bytes) -> bytes:
    """The lines as Kaggle's table."""
    out = io.StringIO(newline="")
    columns = ("countrycode", "drawing", "key_id", "recognized", "timestamp", "word")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(columns)
    for line in lines.splitlines():
        fields = json.loads(line)
        fields["drawing"] = json.dumps(fields["drawing"])
        rows.writerow([fields[name] for name in columns])
    return out.getvalue().encode()


def arrow_reader() -> Callable[[Path], object]:
    from pyarrow import csv as arrow_csv

    options = arrow_csv.ReadOptions(use_threads=False)
    return lambda path: arrow_csv.read_csv(path, read_options=options)


def python_reader(path: Path) -> object:
    with path.open(newline="") as file:
        return deque(csv.reader(file), maxlen=0)


def batches(path: Path) -> object:
    return deque(qdfast.iter_ndjson(path, recognized="any", threads=1), maxlen=0)


def whole(path: Path) -> qdfast.Drawings:
    return qdfast.read_ndjson(path, recognized="any", threads=1)


def race(contestants: Contestants) -> None:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, (read, path) in contestants.items():
            start = time.process_time()
            read(path)
            times[name].append(time.process_time() - start)
    for name, (_, path) in contestants.items():
        size = path.stat().st_size / 1e9
        median, best = statistics.median(times[name]), min(times[name])
        print(f"{name:32} {size / median:6.2f} GB/s, best {size / best:6.2f} GB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA_DIR")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        files = sorted(a.data.glob("*.ndjson")) if a.data else write_doodles(Path(directory), per_class=500)
        repeat_lines(files, source := Path(directory) / "all.ndjson", CSV_SIZE)
        lines = source.read_bytes()
        drawings = qdfast.parse_ndjson(lines, recognized="any")
        records = format_binary(drawings)
        binary, cells = Path(directory) / "all.bin", Path(directory) / "all.csv"
        binary.write_bytes(records)
        cells.write_bytes(table(lines))
        if not whole(cells).equals(drawings):
            raise SystemExit("the columns of the table are not those of the lines")
        found = whole(binary)
        if not all((getattr(found, name) == getattr(drawings, name)).all() for name in ("x", "y", "key_id")):
            raise SystemExit("the columns of the binary file are not those of the lines")
        binary.write_bytes(records * max(1, SIZE // len(records)))
        race({".bin in batches": (batches, binary), ".bin as a whole": (whole, binary)})
        contestants: Contestants = {"CSV to columns": (whole, cells), "csv.reader alone": (python_reader, cells)}
        try:
            contestants["pyarrow's reader alone"] = (arrow_reader(), cells)
        except ImportError:
            print("pyarrow is not installed: not compared")
        race(contestants)


if __name__ == "__main__":
    main()
