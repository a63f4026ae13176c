"""How does the time of each call grow with its input?

    python benchmarks/bench_linear.py [--base 2000] [--only NAME ...]

Each call runs with N, 4 N and 16 N drawings, files, shards, classes, requests or versions. CPU seconds, the least of
some runs. The exponent is log4 of the time at 16 N over that at 4 N: 1 is linear, 2 quadratic, and 0 does not depend on
the input. Calls above 1.15 are marked, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import write_result

import qdfast
from qdfast import cli
from qdfast._quiet import import_quietly
from qdfast.dataset.convert import convert
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import open_prepared
from qdfast.dataset.rows import Rows
from qdfast.dataset.sources import load_rows
from qdfast.learn.metrics import one_vs_rest, reliability, score
from qdfast.learn.models.calibration import fit_temperature
from qdfast.learn.training.batches import row_order, training_order
from qdfast.protocol import tfs_pb2 as pb
from qdfast.protocol.messages import encode_tensor
from qdfast.protocol.requests import ModelSpec, ProbabilitiesQuery
from qdfast.quickdraw.doodles import write_doodles
from qdfast.storage.versions import find_versions

CLASSES = 20
LIMIT = 1.15
TOO_SHORT = 2e-3  # seconds at 16 N, below which an exponent says nothing

Call = Callable[[], Any]


def lines_of(n: int, tmp: Path) -> bytes:
    """n lines of doodles."""
    write_doodles(tmp / "one", classes=["circle", "star"], per_class=500, seed=1)
    lines = b"".join(path.read_bytes() for path in sorted((tmp / "one").iterdir())).splitlines(keepends=True)
    return b"".join(lines[i % len(lines)] for i in range(n))


def files_of(n: int, count: int, tmp: Path) -> Path:
    """n lines in ``count`` files."""
    out = tmp / "files"
    out.mkdir()
    lines = lines_of(n, tmp).splitlines(keepends=True)
    for i in range(count):
        (out / f"class {i}.ndjson").write_bytes(b"".join(lines[i::count]))
    return out


def by_drawings(n: int, tmp: Path) -> Iterator[tuple[str, Call]]:
    data = lines_of(n, tmp)
    spaced = b"".join(json.dumps(json.loads(line)).encode() + b"\n" for line in data.splitlines())
    d = qdfast.parse_ndjson(data, recognized="any")
    one, rng = np.array([n // 2]), np.random.default_rng(0)
    order, lists = rng.permutation(n), [[(x.tolist(), y.tolist()) for x, y in drawing] for drawing in d]
    yield "parse_ndjson", lambda: qdfast.parse_ndjson(data, recognized="any", threads=1)
    yield "parse_ndjson, as json.dumps writes", lambda: qdfast.parse_ndjson(spaced, recognized="any", threads=1)
    yield "parse_ndjson, all rejected", lambda: qdfast.parse_ndjson(b"[]\n" * n, threads=1)
    yield "iter_ndjson", lambda: sum(map(len, qdfast.iter_ndjson(io.BytesIO(data), recognized="any", threads=1)))
    yield "format_ndjson", lambda: qdfast.format_ndjson(d)
    yield "from_strokes", lambda: qdfast.from_strokes(lists)
    yield "simplify", lambda: qdfast.simplify(lists)
    yield "Drawings[slice]", lambda: d[n // 4 : n // 2]
    yield "Drawings[index]", lambda: d[order]
    yield "Drawings[one row]", lambda: [d[int(one[0])] for _ in range(200)]
    yield "iterate Drawings", lambda: sum(1 for _ in d)
    yield "concat", lambda: qdfast.concat([d[i : i + 500] for i in range(0, n, 500)])
    yield "deltas(64)", lambda: d.deltas(64)
    yield "deltas(64, index=one row)", lambda: [d.deltas(64, index=one) for _ in range(200)]
    yield "ragged_deltas", lambda: d.ragged_deltas()
    yield "bitmaps", lambda: d.bitmaps()
    yield "bitmaps(index=one row)", lambda: [d.bitmaps(index=one) for _ in range(200)]
    yield "hashes", lambda: d.hashes()
    yield "delta_stats", lambda: d.delta_stats()
    rows = Rows.from_drawings([(d, d.word_codes)], d.words)
    yield "Rows.deltas, one batch", lambda: [rows.deltas(order[:64], 64) for _ in range(50)]
    yield "Rows.bitmaps, one batch", lambda: [rows.bitmaps(order[:64]) for _ in range(20)]
    lengths = d.lengths
    yield "training_order", lambda: training_order(lengths, batch=256, max_len=128, seed=1, epoch=1)
    yield "row_order", lambda: row_order(lengths, batch=256, max_len=128)
    probabilities = rng.dirichlet(np.ones(CLASSES), n).astype(np.float32)
    labels, names = rng.integers(0, CLASSES, n), [str(i) for i in range(CLASSES)]
    yield "score", lambda: score(probabilities, labels, names)
    yield "one_vs_rest", lambda: one_vs_rest(probabilities, labels)
    yield "reliability", lambda: reliability(probabilities, labels)
    yield "fit_temperature", lambda: fit_temperature(probabilities, labels)

    def predict() -> None:
        query = ProbabilitiesQuery(d, ModelSpec("localhost:8500", "m"))
        for i in range(len(query)):
            m = query.request(i).inputs["deltas"].tensor_shape.dim[0].size
            response = pb.PredictResponse()
            response.outputs["probabilities"].CopyFrom(encode_tensor(np.full((m, 2), 0.5, np.float32)))
            query.add_response(i, response)
        query.result()

    yield "Client.probabilities, without the network", predict
    path = tmp / "all.ndjson"
    path.write_bytes(data)
    out = tmp / "prepared"
    numbers = iter(range(10**6))
    yield "prepare", lambda: prepare(path, tmp / f"new{next(numbers)}", recognized="any", threads=1)
    prepare(path, out, recognized="any")
    yield "prepare, already prepared", lambda: prepare(path, out, recognized="any")
    yield "open_prepared and rows", lambda: open_prepared(out).rows()
    yield "load_rows", lambda: load_rows([path], recognized="any")
    for name in ("parquet", "tfrecord", "ndjson"):
        yield f"convert to {name}", partial(convert_to, name, out, tmp, numbers)


def convert_to(name: str, prepared: Path, tmp: Path, numbers: Iterator[int]) -> None:
    convert(prepared, tmp / f"{name}{next(numbers)}", format=name)


def by_files(n: int, tmp: Path) -> Iterator[tuple[str, Call]]:
    files = n // 100
    source, numbers = files_of(n, files, tmp), iter(range(10**6))
    yield "read_ndjson(directory)", lambda: qdfast.read_ndjson(source, recognized="any", threads=1)
    yield "prepare", lambda: prepare(source, tmp / f"new{next(numbers)}", recognized="any", threads=1)
    out = tmp / "prepared"
    prepare(source, out, recognized="any")
    yield "prepare, already prepared", lambda: prepare(source, out, recognized="any")
    yield "open_prepared and rows", lambda: open_prepared(out).rows()
    yield "info of the files", lambda: command("info", source)
    yield "info of the prepared directory", lambda: command("info", out)


def by_versions(n: int, tmp: Path) -> Iterator[tuple[str, Call]]:
    for i in range(n // 20):
        (tmp / "model" / str(i + 1)).mkdir(parents=True)
    yield "find_versions", lambda: [find_versions(tmp / "model") for _ in range(20)]


def command(*arguments: str | Path) -> None:
    with redirect_stdout(io.StringIO()):
        if cli.main([str(a) for a in arguments]):
            sys.exit(f"qdfast {arguments[0]} failed")


def cpu_seconds(call: Call) -> float:
    """The least of some runs."""
    best = math.inf
    began = time.monotonic()
    for _ in range(5):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
        if time.monotonic() - began > 5:
            break
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=int, default=2000, help="drawings at N (default: %(default)s)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="calls whose names contain one of these")
    options = parser.parse_args()
    import_quietly("tensorflow")  # for TFRecord files: not to be timed
    rows: list[dict[str, Any]] = []
    print(f"{'':12} {'':44} {'N':>9} {'4 N':>9} {'16 N':>9}  exponent")
    for unit, calls in (("drawings", by_drawings), ("files", by_files), ("versions", by_versions)):
        times: dict[str, list[float]] = {}
        for factor in (1, 4, 16):
            with tempfile.TemporaryDirectory() as tmp:
                for name, call in calls(factor * options.base, Path(tmp)):
                    if not options.only or any(part in name for part in options.only):
                        times.setdefault(name, []).append(cpu_seconds(call))
        for name, seconds in times.items():
            exponent = math.log(seconds[2] / seconds[1], 4) if seconds[2] > TOO_SHORT else 0.0
            mark = "  too steep" if exponent > LIMIT else ""
            print(f"{unit:12} {name:44} " + " ".join(f"{1e3 * s:9.2f}" for s in seconds) + f"  {exponent:8.2f}{mark}")
            rows.append({"unit": unit, "call": name, "seconds": seconds, "exponent": round(exponent, 2)})
    if not options.only:
        print(write_result("linear", {"base": options.base, "rows": rows}))
    return int(any(row["exponent"] > LIMIT for row in rows))


if __name__ == "__main__":
    sys.exit(main())
