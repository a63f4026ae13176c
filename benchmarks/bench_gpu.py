"""Measures training on a GPU: speed, correctness, and what limits it.

    KERAS_BACKEND=jax python benchmarks/bench_gpu.py DIR

DIR holds .ndjson files; all their drawings are used. The benchmark has parts, and runs the most important ones first.
It prints each row and writes it to ``results/gpu.json`` at once, so an interrupted run keeps its results. If a part
fails, its error is recorded, and the other parts still run.

    ceilings   peak rates of the device: matrix products and copies
    recipe     ``train`` of the default model on DIR with its whole recipe, in mixed_bfloat16: seconds until --accuracy
               is reached and until the end, from building the network to the last checkpoint. The compilation cache is
               empty for the first seed and filled for the others. WORK keeps the first run and its predictions.
    doodles    ``train`` on generated drawings of 24 classes: seconds per epoch, including validation and checkpoint
    notebook   the Kaggle notebook's own network and ``Model.fit`` (notebook.py), on the same device and Keras
    bound      one compiled step on its own: milliseconds, operations, bytes, kernels, and the share of
               an epoch in which the device waits for the host
    lstm       which LSTM kernel runs, and seconds per epoch of the recurrent networks
    gradients  loss and gradients of one batch, compared with those on this machine's CPU
    grid       precisions, batch sizes, and drawings sent batch by batch instead of resident

Needs JAX. It also runs without a GPU.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common import write_result

from qdfast.dataset.prepare import prepare
from qdfast.quickdraw.doodles import CLASSES, write_doodles

if __name__ == "__main__" and "--gradients-of" in sys.argv:
    os.environ["JAX_PLATFORMS"] = "cpu"

EPOCH_COLUMNS = (
    f"{'data':8} {'model':14} {'precision':15} {'batch':>6} {'first s':>8} {'epoch s':>8} {'drawings/s':>11}"
)


class Bench:
    """The options, the data and the results so far."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.data = prepare(options.dir, work / "data", recognized="any", log=lambda line: None)
        self.result: dict[str, Any] = {"input": options.dir.name, "device": device(), "failed": {}}

    def add(self, part: str, row: dict[str, Any], line: str) -> None:
        self.result.setdefault(part, []).append(row)
        print(line, flush=True)
        self.save()

    def save(self) -> None:
        write_result("gpu", self.result)

    def train(self, out: str, data: Any = None, **arguments: Any) -> dict[str, Any]:
        """A call of ``train``: its seconds, what its log says of the device, and the epochs."""
        from qdfast.learn.training.runs import load_run
        from qdfast.learn.training.train import train

        lines: list[str] = []
        begun = time.monotonic()
        train(data or self.data, self.work / out, log=lines.append, **arguments)
        seconds = time.monotonic() - begun
        run = load_run(self.work / out)
        about = next(line.partition(": ")[2] for line in lines if " on a GPU" in line or " on a CPU" in line)
        return {"seconds": seconds, "about": about, "history": run.history, "batch": run.arguments["batch"]}

    def speed(self, part: str, name: str, data: Any, model: str, precision: str, **arguments: Any) -> None:
        """A row about some epochs: the first compiles, the median of the others counts."""
        out = f"{part}-{name}-{model}-{precision}-{arguments.get('batch')}-{arguments.get('resident')}"
        got = self.train(out, data, model=model, precision=precision, epochs=self.options.epochs, **arguments)
        first, *others = got["history"]
        row = {
            "data": name,
            "drawings": len(data.rows("train")),
            "model": model,
            "precision": precision,
            "batch": got["batch"],
            "first_epoch_s": first["seconds"],
            "epoch_s": statistics.median(e["seconds"] for e in others),
            "drawings_per_s": round(statistics.median(e["drawings_per_s"] for e in others)),
            "val_top1": others[-1]["val_top1"],
            "about": got["about"],
        }
        self.add(
            part,
            row,
            f"{name:8} {model:14} {precision:15} {row['batch']:6} {first['seconds']:8.1f} {row['epoch_s']:8.2f} "
            f"{row['drawings_per_s']:11,}  {got['about']}",
        )


def device() -> dict[str, Any]:
    """The device and what drives it."""
    import jax
    import jaxlib
    import keras

    found = {
        "name": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "keras": keras.__version__,
        "flags": os.environ.get("XLA_FLAGS", ""),
    }
    if jax.default_backend() == "gpu":
        query = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
        found["driver"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return found


# ---- parts ----


def ceilings(bench: Bench) -> None:
    import jax

    def seconds(run: Callable[[Any], Any], x: Any, n: int = 20) -> float:
        x = jax.block_until_ready(run(x))
        begun = time.perf_counter()
        for _ in range(n):
            x = run(x)
        jax.block_until_ready(x)
        return (time.perf_counter() - begun) / n

    size = 8192 if jax.default_backend() == "gpu" else 512
    row: dict[str, Any] = {}
    for dtype in ("bfloat16", "float32"):
        x = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5
        row[f"{dtype}_tflops"] = round(2 * size**3 / seconds(jax.jit(lambda a: a @ a), x) / 1e12, 1)
    x = jax.numpy.ones(size * size * 4, np.float32)
    row["copy_tb_per_s"] = round(2 * x.nbytes / seconds(jax.jit(lambda a: a + 1, donate_argnums=0), x) / 1e12, 3)
    bench.add("ceilings", row, f"ceilings: {row}")


def recipe(bench: Bench) -> None:
    for seed in range(1, bench.options.seeds + 1):
        whole_recipe(bench, seed)


def whole_recipe(bench: Bench, seed: int) -> None:
    accuracy = bench.options.accuracy
    got = bench.train(f"recipe-{seed}", precision="mixed_bfloat16", seed=seed, **bench.options.recipe)
    history, passed, reached = got["history"], 0.0, None
    before = got["seconds"] - sum(e["seconds"] for e in history)
    for epoch in history:
        passed += epoch["seconds"]
        if reached is None and epoch["val_top1"] >= accuracy:
            reached = round(before + passed, 1)
    best = min(history, key=lambda e: e["val_loss"])
    row = {
        "seed": seed,
        "epochs": len(history),
        "batch": got["batch"],
        "compilation_cache": "empty" if seed == 1 else "filled",
        "all_s": round(got["seconds"], 1),
        "first_epoch_s": history[0]["seconds"],
        "epoch_s": statistics.median(e["seconds"] for e in history[1:]),
        "drawings_per_s": round(statistics.median(e["drawings_per_s"] for e in history[1:])),
        "accuracy": accuracy,
        "reached_s": reached,
        "val_top1": best["val_top1"],
        "val_top3": best["val_top3"],
        "val_loss": best["val_loss"],
        "about": got["about"],
    }
    bench.add("recipe", row, f"recipe: {row}")


def answers(bench: Bench) -> None:
    """What the first run's network says to the validation split, in float32, to be compared with a CPU's answers."""
    import jax
    import keras

    from qdfast.learn.training.batches import Group
    from qdfast.learn.training.runs import load_run

    run, rows = load_run(bench.work / "recipe-1"), bench.data.rows("validation")
    net, size = run.load_model(export=True, calibrated=False), 1024
    values = [v.value for v in net.trainable_variables], [v.value for v in net.non_trainable_variables]
    found = []
    with jax.default_matmul_precision("highest"):
        ask = jax.jit(lambda values, inputs: net.stateless_call(*values, inputs, training=False)[0])
        for a in range(0, len(rows), size):
            index = np.resize(np.arange(a, min(a + size, len(rows))), size)
            found.append(np.asarray(ask(values, run.input_spec.inputs(rows, Group(run.max_len, index)))))
    probabilities = np.concatenate(found)[: len(rows)]
    np.save(bench.work / "recipe-1" / "answers.npy", probabilities)
    row = {"n": len(rows), "val_top1": float((probabilities.argmax(1) == rows.labels).mean())}
    bench.add("answers", row, f"answers in float32 by {keras.backend.backend()}: {row}")


def doodles(bench: Bench) -> None:
    data = doodle_data(bench.work, bench.options.doodles)
    print(EPOCH_COLUMNS)
    bench.speed("doodles", "doodles", data, "stroke_conv", "mixed_bfloat16", batch=1024)


def doodle_data(work: Path, count: int) -> Any:
    """Generated drawings, ``count`` of them in the training split."""
    if not (work / "doodles-data" / "manifest.json").exists():
        per_class = round(count / 0.9 / len(CLASSES))
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            for name in CLASSES:
                pool.submit(write_doodles, work / "doodles", classes=[name], per_class=per_class)
    return prepare(work / "doodles", work / "doodles-data", recognized="any", log=lambda line: None)


def notebook(bench: Bench) -> None:
    import notebook as kaggle

    rows = bench.data.rows("train")
    index = np.random.default_rng(0).permutation(len(rows))[: bench.options.notebook_steps * kaggle.BATCH]
    drawings, stats = rows.drawings(index), kaggle.statistics_of(bench.data)
    x = drawings.deltas(kaggle.MAX_LEN, stats=stats, blank_zero_steps=True)[0]
    y = np.eye(len(bench.data.classes), dtype=np.float32)[rows.labels[index]]
    for dropout in (0.3, 0.0):
        net = kaggle.network(len(bench.data.classes), dropout)
        begun = time.perf_counter()
        net.fit(x[: 2 * kaggle.BATCH], y[: 2 * kaggle.BATCH], batch_size=kaggle.BATCH, verbose=0)
        start = time.perf_counter() - begun
        begun = time.perf_counter()
        net.fit(x, y, batch_size=kaggle.BATCH, verbose=0)
        rate = len(x) / (time.perf_counter() - begun)
        row = {"recurrent_dropout": dropout, "batch": kaggle.BATCH, "drawings": len(x), "start_s": round(start, 1)}
        bench.add("notebook", row | {"drawings_per_s": round(rate)}, f"notebook: {row} {rate:,.0f} drawings/s")


def bound(bench: Bench) -> None:
    for batch in (256, 1024):
        step_alone(bench, batch)


def step_alone(bench: Bench, batch: int) -> None:
    """One compiled step of the default model in mixed_bfloat16, again and again on other drawings."""
    import jax

    trainer, steps = new_trainer(bench.data, "stroke_conv", "mixed_bfloat16", batch, augmented=True), 128
    s, rng = trainer.steps, np.random.default_rng(0)
    s.begin()

    def rows() -> dict[str, Any]:
        return {"rows": rng.integers(0, len(trainer.training), batch).astype(np.int32)}

    rate = np.float32(1e-3)
    begun = time.perf_counter()
    lowered = s._compiled_train.lower(s._state, s.training.device_arrays, rows(), steps, rate)
    compiled = lowered.compile()
    start = time.perf_counter() - begun
    state, held, batches, n = s._state, s.training.device_arrays, [rows() for _ in range(8)], bench.options.steps

    def run(n: int) -> None:
        nonlocal state
        for i in range(n):
            state = compiled(state, held, batches[i % 8], rate)
        jax.block_until_ready(state)

    run(5)
    begun = time.perf_counter()
    run(n)
    seconds = (time.perf_counter() - begun) / n
    # Operations as they are asked for: the compiled step does not count those of cuBLAS and cuDNN.
    flops = (lowered.cost_analysis() or {}).get("flops", 0.0)
    moved = (compiled.cost_analysis() or {}).get("bytes accessed", 0.0)
    row = {
        "batch": batch,
        "lower_and_compile_s": round(start, 1),
        "step_ms": round(1e3 * seconds, 3),
        "drawings_per_s": round(batch / seconds),
        "gflop": round(flops / 1e9, 1),
        "gb": round(moved / 1e9, 2),
        "tflops": round(flops / seconds / 1e12, 1),
        "tb_per_s": round(moved / seconds / 1e12, 2),
    }
    with tempfile.TemporaryDirectory() as traces:
        jax.profiler.start_trace(traces)
        run(10)
        jax.profiler.stop_trace()
        busy, count, top = kernels(Path(traces))
    row |= {"busy_ms": round(busy / 10, 3), "kernels": round(count / 10), "top_us": top[:12]}
    bench.add("bound", row, f"bound: {row}")


def kernels(traces: Path) -> tuple[float, int, list[Any]]:
    """Of a profile: milliseconds in kernels, their number, and the longest of them with their microseconds."""
    events = json.loads(gzip.decompress(next(traces.rglob("*.trace.json.gz")).read_bytes()))["traceEvents"]
    devices = {e["pid"] for e in events if e.get("name") == "process_name" and "GPU" in e["args"]["name"]}
    streams = {(e["pid"], e["tid"]) for e in events if e.get("name") == "thread_name" and "Stream" in e["args"]["name"]}
    spent: Counter[str] = Counter()
    count = 0
    for e in events:
        if e.get("ph") == "X" and e["pid"] in devices and (e["pid"], e["tid"]) in streams:
            spent[e["name"]] += e["dur"]
            count += 1
    return sum(spent.values()) / 1e3, count, [[name[:80], round(us / 10, 1)] for name, us in spent.most_common(12)]


def lstm(bench: Bench) -> None:
    print(EPOCH_COLUMNS)
    for model, precision in (
        ("stroke_lstm", "float32"),
        ("stroke_bilstm", "float32"),
        ("stroke_lstm", "mixed_bfloat16"),
    ):
        bench.speed("lstm", bench.options.dir.name, bench.data, model, precision, batch=1024)


def grid(bench: Bench) -> None:
    print(EPOCH_COLUMNS)
    changes: list[dict[str, Any]] = [
        {"precision": "mixed_bfloat16", "batch": 1024},
        {"precision": "mixed_bfloat16", "batch": 4096},
        {"precision": "float32", "batch": 1024},
        {"precision": "mixed_bfloat16", "batch": 1024, "resident": False},
        {"precision": "mixed_float16", "batch": 1024},
    ]
    for change in changes:
        bench.speed("grid", bench.options.dir.name, bench.data, "stroke_conv", **change)


# ---- loss and gradients ----


def new_trainer(data: Any, model: str, precision: str, batch: int, *, augmented: bool) -> Any:
    """What ``train`` steps with, without augmentation unless ``augmented``."""
    from qdfast.learn.models.networks import network
    from qdfast.learn.training.batches import DeltaInputSpec
    from qdfast.learn.training.recipes import recipe
    from qdfast.learn.training.train import new_network
    from qdfast.learn.training.trainer import Trainer
    from qdfast.learn.training.workers import Workers

    known = network(model)
    how = recipe(known.recipe)
    if not augmented:
        how = how._replace(augmented=False)
    arguments = {"model": model, "recipe": known.recipe, "seed": 1, "recurrent_dropout": 0.0, "precision": precision}
    net = new_network({**arguments, "learning_rate": how.learning_rate}, len(data.classes))
    spec = DeltaInputSpec(data.stats("train") if known.standardized else None, known.max_len, ())
    rows = data.rows("train"), data.rows("validation")
    return Trainer(net, how, *rows, spec, batch=batch, seed=1, resident=True, workers=Workers())


CHECKS = (
    ("stroke_conv", "float32", "highest"),
    ("stroke_lstm", "float32", "highest"),
    ("stroke_bilstm", "float32", "highest"),
    ("stroke_conv", "mixed_bfloat16", None),
    ("stroke_conv", "float32", None),
)


def loss_and_gradients(data: Any, model: str, precision: str, products: str | None, weights: Any) -> Iterator[Any]:
    """Of 512 drawings padded to 64: the weights, then for each that is sent, loss and gradients."""
    import jax
    import keras

    trainer = new_trainer(data, model, precision, 512, augmented=False)
    s, net = trainer.steps, trainer.net
    s.begin()
    own, others, _ = s._state
    rows = {"rows": np.linspace(0, len(trainer.training) - 1, 512).astype(np.int32)}

    def loss(weights: Any, others: Any) -> Any:
        inputs, labels = s.training.inputs(s.training.device_arrays, rows, 64)
        known = [*zip(net.trainable_variables, weights, strict=True), *zip(s.step.other_variables, others, strict=True)]
        with keras.StatelessScope(state_mapping=known):
            return s.step.loss(inputs, labels)

    run = jax.jit(jax.value_and_grad(loss))
    for given in weights or [own, nudged(own)]:
        with jax.default_matmul_precision(products) if products else nullcontext():
            value, gradients = run([jax.numpy.asarray(w) for w in given], others)
        yield [np.asarray(w) for w in given], float(value), [np.asarray(g, np.float64) for g in gradients]


def nudged(weights: Any) -> list[Any]:
    """Weights that are a millionth larger or smaller, as other rounding makes what is computed with them."""
    rng = np.random.default_rng(0)
    return [w * (1 + 1e-6 * rng.uniform(-1, 1, w.shape).astype(np.float32)) for w in weights]


def write_gradients(data: Any, path: Path) -> None:
    """This CPU's, of each model in float32, and how far they move when the weights are nudged."""
    found: dict[str, Any] = {}
    for model in dict.fromkeys(model for model, _, _ in CHECKS):
        (weights, loss, gradients), (_, _, moved) = loss_and_gradients(data, model, "float32", None, None)
        found |= {f"{model}-w{i}": w for i, w in enumerate(weights)}
        found |= {f"{model}-g{i}": g for i, g in enumerate(gradients)}
        found |= {f"{model}-loss": loss, f"{model}-nudged": apart(moved, gradients)}
    with path.open("wb") as file:
        np.savez(file, **found)


def apart(found: list[Any], wanted: list[Any]) -> float:
    """How far all gradients together are apart, relative to their size."""
    far = sum(float(((a - b) ** 2).sum()) for a, b in zip(found, wanted, strict=True))
    return float((far / sum(float((b**2).sum()) for b in wanted)) ** 0.5)


def gradients(bench: Bench) -> None:
    path = bench.work / "gradients.npz"
    if not path.exists():
        subprocess.run([sys.executable, __file__, str(bench.options.dir), "--gradients-of", str(path)], check=True)
    with np.load(path) as wanted:
        for model, precision, products in CHECKS:
            count = sum(name.startswith(f"{model}-g") for name in wanted.files)
            weights = [[wanted[f"{model}-w{i}"] for i in range(count)]]
            _, loss, found = next(loss_and_gradients(bench.data, model, precision, products, weights))
            true = [wanted[f"{model}-g{i}"] for i in range(count)]
            row = {
                "model": model,
                "precision": precision,
                "matmul_precision": products or "default",
                "loss_apart": abs(loss / float(wanted[f"{model}-loss"]) - 1),
                "gradients_apart": apart(found, true),
                "cpu_nudged_apart": float(wanted[f"{model}-nudged"]),
            }
            bench.add("gradients", row, f"gradients: {row}")


PARTS: dict[str, Callable[[Bench], None]] = {
    part.__name__: part for part in (ceilings, recipe, doodles, notebook, bound, answers, lstm, gradients, grid)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, help="directory of .ndjson files")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        metavar="PART",
        help="parts to run, in this order (default: all)",
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep data and runs in DIR (default: delete them)")
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="number of complete trainings (default: %(default)s)"
    )
    parser.add_argument(
        "--accuracy",
        type=float,
        default=0.929,
        metavar="SHARE",
        help="validation top-1 accuracy to time (default: %(default)s)",
    )
    parser.add_argument(
        "--doodles", type=int, default=240_000, metavar="N", help="generated training drawings (default: %(default)s)"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=4,
        metavar="N",
        help="epochs per speed measurement, at least 2 (default: %(default)s)",
    )
    parser.add_argument(
        "--recipe", type=json.loads, default={}, metavar="JSON", help="more arguments for `train` in the part recipe"
    )
    parser.add_argument(
        "--steps", type=int, default=60, metavar="N", help="steps of the part bound (default: %(default)s)"
    )
    parser.add_argument(
        "--notebook-steps",
        type=int,
        default=100,
        metavar="N",
        help="steps of the part notebook, 128 drawings each (default: %(default)s)",
    )
    parser.add_argument("--gradients-of", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--draw-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "jax"
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if options.draw_only:
            doodle_data(work, options.doodles)
            return
        if options.gradients_of:
            data = prepare(options.dir, Path(temporary) / "data", recognized="any", log=lambda line: None)
            write_gradients(data, options.gradients_of)
            return
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "jax"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
        begun = time.monotonic()
        bench = Bench(options, work)
        print(bench.result["device"])
        for name in options.parts:
            try:
                PARTS[name](bench)
            except Exception as e:
                traceback.print_exc()
                bench.result["failed"][name] = f"{type(e).__name__}: {e}"[:500]
            print(f"[{time.monotonic() - begun:.0f} s] {name}", flush=True)
            bench.save()


if __name__ == "__main__":
    main()
