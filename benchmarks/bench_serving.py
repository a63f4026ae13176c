"""How long does an answer take over gRPC, how many a second are there, and what do they cost the asker?

    python benchmarks/bench_serving.py MODEL_DIR [--drawings FILE] [--cores 2]

Server and clients are processes of their own on the same cores. The same drawings are asked about

    qdfast               by our client, of `qdfast serve`
    qdfast, no batching  by our client, of `qdfast serve --no-batching`
    official             by tensorflow-serving-api with `make_tensor_proto`, of `qdfast serve`
    HTTP, predict        as JSON, of a web server around Keras' `model.predict`

Our client starts from drawings, the other two from arrays that are ready. Every answer is compared before anything is
reported. Milliseconds a call, drawings a second over all clients, and milliseconds of the clients' CPU a call.
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
from load import Heard, Job, Load, ServerProcess, endpoint, percentiles, write_drawings

from qdfast.serve.versions import newest_version


def measure(job: Job, seconds: float) -> Heard:
    with Load(job) as load:
        time.sleep(seconds)
        heard = load.stop()
    if failed := [call.error for call in heard.calls if call.error]:
        sys.exit(f"{job.kind}: {len(failed)} of {len(heard.calls)} calls failed: {failed[0]}")
    return heard


def require_equal(name: str, heard: Heard, judge: Heard) -> None:
    """Exit unless both gave the same scores for the questions that both were asked."""
    judged = {question: scores for (question, _), scores in judge.answers.items()}
    both = [(scores, judged[question]) for (question, _), scores in heard.answers.items() if question in judged]
    if not both or not all(np.allclose(a, b, atol=1e-4) for a, b in both):
        sys.exit(f"{name} gives other answers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="exported; its newest version is used")
    parser.add_argument("--drawings", type=Path, metavar="FILE", help="ndjson to ask about; not given: doodles")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128], help="drawings a call")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each is measured")
    parser.add_argument("--cores", type=int, default=2)
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
                judge: Heard | None = None
                for name, (kind, target) in contenders.items():
                    heard = measure(Job(kind, [target], str(drawings), batch, clients), options.seconds)
                    judge = judge or heard
                    require_equal(name, heard, judge)
                    row = {"name": name, "clients": clients, "batch": batch, "calls": len(heard.calls)}
                    row |= percentiles(heard.calls)
                    row["drawings/s"] = round(batch * len(heard.calls) / _span(heard))
                    row["client_cpu_ms"] = round(1000 * heard.cpu_seconds / len(heard.calls), 3)
                    rows.append(row)
                    print(f"{name:20} {clients:7} {batch:5} " + " ".join(f"{row[c]:13,}" for c in columns), flush=True)
        print(write_result("serving", {"cores_used": options.cores, "seconds": options.seconds, "rows": rows}))


def _span(heard: Heard) -> float:
    """Seconds from the beginning of the first call to the end of the last."""
    return heard.calls[-1].ended - min(call.ended - call.seconds for call in heard.calls)


if __name__ == "__main__":
    main()
