"""Compares the formats of `qdfast export`: size, agreement with the SavedModel, accuracy, latency.

    python benchmarks/bench_formats.py RUN SRC... [--drawings 2000] [--cores 2]

Exports the run in every format and quantization whose packages are installed, and asks each in its own runtime on the
CPU, one drawing at a time, without padding. Drawings of classes that the network does not know are left out. For the
latency, one drawing of 40 points, formats take turns, one call each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from common import cores, write_result
from numpy.typing import NDArray

from qdfast._quiet import import_tensorflow
from qdfast._telemetry import import_onnxruntime
from qdfast.dataset.rows import Rows
from qdfast.dataset.sources import load_rows
from qdfast.learn.export.export import export
from qdfast.learn.training.runs import load_run

PACKAGES = {
    "savedmodel": (),
    "onnx": ("tf2onnx", "onnxruntime"),
    "litert": ("ai-edge-litert",),
    "openvino": ("openvino", "nncf"),
}
POINTS = 40
WARM_UP = 20  # calls

Inputs = Mapping[str, NDArray[Any]]
Answer = Callable[[Inputs], NDArray[np.float32]]


def saved_model(path: Path) -> Answer:
    import tensorflow as tf

    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda inputs: signature(**{name: tf.constant(x) for name, x in inputs.items()})["probabilities"].numpy()


def onnx(path: Path) -> Answer:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as in Classifier
    session = onnxruntime.InferenceSession(path / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(["probabilities"], dict(inputs))[0]


def litert(path: Path) -> Answer:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path / "model.tflite")).get_signature_runner("serving_default")
    return lambda inputs: run(**inputs)["probabilities"]


def openvino(path: Path) -> Answer:
    import openvino

    model = openvino.Core().compile_model(path / "model.xml", "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return lambda inputs: model(dict(inputs))["probabilities"]


RUNTIMES: dict[str, Callable[[Path], Answer]] = {
    "savedmodel": saved_model,
    "onnx": onnx,
    "litert": litert,
    "openvino": openvino,
}


def one(rows: Rows, i: int, takes: str) -> Inputs:
    """The inputs for drawing ``i``."""
    index = np.array([i])
    if takes == "bitmaps":
        return {"bitmaps": rows.bitmaps(index)}
    deltas, lengths = rows.deltas(index, int(rows.lengths[i]), dtype=np.int16)
    return {"deltas": deltas, "lengths": lengths}


def forty_points(takes: str) -> Inputs:
    rng = np.random.default_rng(0)
    if takes == "bitmaps":
        return {"bitmaps": rng.integers(0, 256, (1, 28, 28)).astype(np.uint8)}
    deltas = np.zeros((1, POINTS, 3), np.int16)
    deltas[..., :2] = rng.integers(-9, 10, (1, POINTS, 2))
    return {"deltas": deltas, "lengths": np.array([POINTS], np.int32)}


def size(path: Path) -> int:
    """Bytes of the files that answers depend on."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file() and f.parent.name != "assets.extra")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run of a network")
    parser.add_argument("sources", type=Path, nargs="+", metavar="SRC", help="files of drawings, or prepared data")
    parser.add_argument("--drawings", type=int, default=2000, help="at most so many, at random (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=500, help="timed calls per format (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: %(default)s)")
    options = parser.parse_args()
    import_tensorflow()
    run = load_run(options.run)
    takes = run.input_spec.takes
    rows = load_rows(options.sources, trained_on=[run.info["data"]], log=print)
    known = np.array([run.classes.index(name) if name in run.classes else -1 for name in rows.classes])
    labels = known[rows.labels]
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(labels >= 0))[: options.drawings]
    if not len(chosen):
        parser.error("no drawings of a class that the network knows")
    inputs = [one(rows, int(i), takes) for i in chosen]
    formats = [f for f in RUNTIMES if all(find_spec(p.replace("-", "_")) for p in PACKAGES[f])]
    variants = [(f, q) for f in formats for q in (None, "float16", "int8") if f != "savedmodel" or q is None]
    with cores(options.cores), tempfile.TemporaryDirectory() as name:
        answers: dict[tuple[str, str | None], Answer] = {}
        found: list[dict[str, Any]] = []
        print(f"{'format':12} {'weights':8} {'bytes':>10} {'difference':>11} {'top-1 %':>8}")
        for form, quantize in variants:
            path = export(run, Path(name, f"{form}-{quantize}"), format=form, quantize=quantize)
            answer = answers[form, quantize] = RUNTIMES[form](path)
            probabilities = np.concatenate([answer(x) for x in inputs])
            if form == "savedmodel":
                reference = probabilities
            row: dict[str, Any] = {
                "format": form,
                "weights": quantize or "float32",
                "bytes": size(path),
                "max_difference": float(np.abs(probabilities - reference).max()),
                "top1": float((probabilities.argmax(axis=1) == labels[chosen]).mean()),
            }
            if quantize is None and row["max_difference"] > 1e-5:
                raise SystemExit(f"{form} differs from the SavedModel by {row['max_difference']:.2g}")
            found.append(row)
            print("{format:12} {weights:8} {bytes:10,} {max_difference:11.2g} {:8.2f}".format(100 * row["top1"], **row))
        drawing = forty_points(takes)
        times: dict[tuple[str, str | None], list[float]] = {key: [] for key in answers}
        for call in range(options.calls + WARM_UP):
            for key, answer in answers.items():
                begun = time.perf_counter()
                answer(drawing)
                if call >= WARM_UP:
                    times[key].append(1000 * (time.perf_counter() - begun))
    print(f"\n{'format':12} {'weights':8} {'p50 ms':>8} {'p90 ms':>8}")
    for row, took in zip(found, times.values(), strict=True):
        row["p50_ms"], row["p90_ms"] = (round(float(q), 3) for q in np.percentile(took, (50, 90)))
        print("{format:12} {weights:8} {p50_ms:8.2f} {p90_ms:8.2f}".format(**row))
    packages = {p: version(p) for f in formats for p in PACKAGES[f]}
    result = {
        "model": run.arguments["model"],
        "classes": len(run.classes),
        "drawings": len(chosen),
        "cores_used": options.cores,
        "points": POINTS,
        "runtimes": packages,
        "rows": found,
    }
    print(write_result("formats", result))


if __name__ == "__main__":
    main()
