"""Measures latency and throughput of serving over gRPC, and the clients' CPU time.

    python benchmarks/bench_serving.py MODEL_DIR [--drawings FILE] [--cores 2]

Server and clients are separate processes on the same cores. All classify the same drawings:

    qdfast               qdfast's client with `qdfast serve`
    qdfast, no batching  qdfast's client with `qdfast serve --no-batching`
    official             tensorflow-serving-api and `make_tensor_proto` with `qdfast serve`
    HTTP, predict        JSON with a web server around Keras' `model.predict`

qdfast's client starts from drawings, the other two from arrays made before. All answers are compared before anything is
reported. The table gives milliseconds per call, drawings per second over all clients, and milliseconds of the clients'
CPU time per call.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import cores, write_result
from load import Job, Load, LoadResult, ServerProcess, endpoint, percentiles, write_drawings

from qdfast.storage.versions import newest_version


def measure(job: Job, seconds: float) -> LoadResult:
    with Load(job) as load:
        time.sleep(seconds)
        result = load.stop()
    if failed := [call.error for call in result.calls if call.error]:
        sys.exit(f"{job.kind}: {len(failed)} of {len(result.calls)} calls failed: {failed[0]}")
    return result


def require_equal(name: str, result: LoadResult, reference: LoadResult) -> None:
    """Exit unless both gave the same scores for the inputs that both were asked about."""
    expected = {question: scores for (question, _), scores in reference.answers.items()}
    both = [(scores, expected[question]) for (question, _), scores in result.answers.items() if question in expected]
    if not both or not all(np.allclose(a, b, atol=1e-4) for a, b in both):
        sys.exit(f"{name} gives other answers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="model directory; its newest version is used")
    parser.add_argument("--drawings", type=Path, metavar="FILE", help="ndjson file to classify; default: doodles")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 32, 64], help="(default: 1 4 16 32 64)")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 8, 32, 128], help="drawings per call (default: 1 8 32 128)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per measurement (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: %(default)s)")
    options = parser.parse_args()
    with cores(options.cores), ExitStack() as stack:
        tmp = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        drawings = options.drawings or write_drawings(tmp)
        batching = stack.enter_context(ServerProcess(options.model_dir)).target
        alone = stack.enter_context(ServerProcess(options.model_dir, "--no-batching")).target
        version_dir = options.model_dir / str(newest_version(options.model_dir))
        contenders = {
            "qdfast": ("qdfast", batching),
            "qdfast, no batching": ("qdfast", alone),
            "official": ("official", batching),
            "HTTP, predict": ("http", stack.enter_context(endpoint(version_dir))),
        }
        rows: list[dict[str, Any]] = []
        columns = ("p50_ms", "p99_ms", "p99.9_ms", "drawings/s", "client_cpu_ms")
        print(f"{'':20} {'clients':>7} {'batch':>5} " + " ".join(f"{c.replace('_', ' '):>13}" for c in columns))
        for batch in options.batches:
            for clients in options.clients:
                reference: LoadResult | None = None
                for name, (kind, target) in contenders.items():
                    result = measure(Job(kind, [target], str(drawings), batch, clients), options.seconds)
                    reference = reference or result
                    require_equal(name, result, reference)
                    row = {"name": name, "clients": clients, "batch": batch, "calls": len(result.calls)}
                    row |= percentiles(result.calls)
                    row["drawings/s"] = round(batch * len(result.calls) / _span(result))
                    row["client_cpu_ms"] = round(1000 * result.cpu_seconds / len(result.calls), 3)
                    rows.append(row)
                    print(f"{name:20} {clients:7} {batch:5} " + " ".join(f"{row[c]:13,}" for c in columns), flush=True)
        print(write_result("serving", {"cores_used": options.cores, "seconds": options.seconds, "rows": rows}))


def _span(result: LoadResult) -> float:
    """Seconds from the beginning of the first call to the end of the last."""
    return result.calls[-1].ended - min(call.ended - call.seconds for call in result.calls)


if __name__ == "__main__":
    main()
