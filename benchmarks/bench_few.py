"""Measures what a trained network is worth to somebody with few drawings: `qdfast train --init` against from scratch.

    python benchmarks/bench_few.py DATA_DIR --init RUN --out WORK [--classes 20] [--counts 25 100] [--held-out 100]
        [--epochs N] [--seeds 1 2 3] [--jobs 1]

The classes are those with the most drawings in DATA_DIR that RUN's network does not know. A fixed sample of --held-out
drawings of each class is kept apart. For every count and seed, as many of the others are sampled, `qdfast prepare`
makes WORK/data/<count>-<seed>, and `qdfast train` trains the network of RUN on it twice: with --init RUN, and without.
Both have the same seed, number of epochs and batch size, which are the defaults of --init unless --epochs is given;
from scratch the learning rate is the recipe's, as it always is. `qdfast evaluate` measures both on the drawings kept
apart. A tenth of a sample is its validation split, which selects the epoch, so that fewer are trained on. --jobs
trainings run at once, each on its own share of the cores. Repeat the command to resume.

Top-1 and top-3 are means over the seeds, each with another sample, and have 95 % intervals (see common.half_width).
Minutes are those of all epochs with their validation: neither the start of the program nor its imports are in them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import QDFAST, half_width, prepare_once, run_all, write_result

from qdfast.learn.training.config import TrainConfig
from qdfast.learn.training.initial import open_initial
from qdfast.learn.training.runs import Run, load_run
from qdfast.storage.names import METRICS

STARTS = ("init", "scratch")


def split_lines(files: Sequence[Path], held_out: int, work: Path) -> dict[str, list[bytes]]:
    """Write the lines kept apart to WORK/held-out; returns the others, by the names of the files."""
    others = {}
    directory = work / "held-out"
    directory.mkdir(exist_ok=True)
    for file in files:
        lines = [line + b"\n" for line in dict.fromkeys(file.read_bytes().splitlines()) if line.strip()]
        random.Random(0).shuffle(lines)
        Path(directory, file.name).write_bytes(b"".join(lines[:held_out]))
        others[file.name] = lines[held_out:]
    return others


def sample(lines: dict[str, list[bytes]], count: int, seed: int, directory: Path) -> list[Path]:
    """Write ``count`` lines of each file."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, some in lines.items():
        Path(directory, name).write_bytes(b"".join(random.Random(f"{name} {seed}").sample(some, count)))
    return sorted(directory.iterdir())


def training_options(run: Run, epochs: int | None) -> dict[str, dict[str, Any]]:
    """The options of `qdfast train` for each start."""
    tuned = TrainConfig(init=run.path, epochs=epochs).settle(open_initial(run.path, out=run.path))
    same = {"epochs": tuned.epochs, "batch": tuned.arguments["batch"]}
    return {"init": {**same, "init": run.path}, "scratch": {**same, "model": tuned.arguments["model"]}}


def commands(task: str, data: Path, seed: int, options: dict[str, Any], work: Path) -> list[list[str]]:
    run, report = str(work / "runs" / task), str(work / "reports" / task)
    train = [*QDFAST, "train", str(data), "--out", run, "--seed", str(seed)]
    for name, value in options.items():
        train += [f"--{name}", str(value)]
    return [train, [*QDFAST, "evaluate", run, str(work / "held-out"), "--recognized", "any", "--out", report]]


def row(count: int, start: str, seeds: Sequence[int], work: Path) -> dict[str, Any]:
    """The row of the table for a count and a start, over the seeds."""
    names = [f"{start}-{count}-{seed}" for seed in seeds]
    metrics = [json.loads(Path(work, "reports", name, METRICS).read_text()) for name in names]
    runs = [load_run(work / "runs" / name) for name in names]
    histories = [run.history for run in runs]
    found: dict[str, Any] = {"start": start, "drawings_per_class": count, "seeds": list(seeds), "n": metrics[0]["n"]}
    for key in ("top1", "top3"):
        by_seed = [m[key] for m in metrics]
        p = statistics.mean(by_seed)
        drawn = (p * (1 - p) / found["n"]) ** 0.5
        found |= {key: p, f"{key}_half_width": half_width(by_seed, drawn), f"{key}_by_seed": by_seed}
    found["epochs"] = [len(history) for history in histories]
    found["minutes"] = [round(sum(epoch["seconds"] for epoch in history) / 60, 2) for history in histories]
    found["train"] = [run.info["data"]["train"] for run in runs]
    found["arguments"] = {key: value for key, value in runs[0].arguments.items() if key != "seed"}
    return found


def line(found: dict[str, Any]) -> str:
    shares = [f"{found[key]:8.2%} ± {found[f'{key}_half_width']:6.2%}" for key in ("top1", "top3")]
    epochs, minutes = statistics.mean(found["epochs"]), statistics.mean(found["minutes"])
    start, seeds = found["start"], len(found["seeds"])
    return f"{found['drawings_per_class']:9} {start:8} {seeds:5}{'  '.join(shares)} {epochs:7.1f} {minutes:8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory of .ndjson files")
    parser.add_argument("--init", type=Path, required=True, metavar="RUN", help="run of the network to start from")
    parser.add_argument("--out", type=Path, required=True, metavar="WORK", help="directory for everything it makes")
    parser.add_argument("--classes", type=int, default=20, help="number of classes (default: %(default)s)")
    parser.add_argument("--counts", nargs="+", type=int, default=[25, 100], help="drawings per class (default: 25 100)")
    parser.add_argument("--held-out", type=int, default=100, help="drawings kept apart per class (default: 100)")
    parser.add_argument("--epochs", type=int, help="epochs of every training (default: the recipe's)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings to run at once (default: %(default)s)")
    options = parser.parse_args()
    work, source = options.out, load_run(options.init)
    work.mkdir(parents=True, exist_ok=True)

    sizes = {f: len(f.read_bytes().splitlines()) for f in sorted(options.data.glob("*.ndjson"))}
    files = [f for f in sorted(sizes, key=lambda f: -sizes[f]) if f.stem not in source.classes][: options.classes]
    enough = options.held_out + max(options.counts)
    if len(files) < options.classes or sizes[files[-1]] < enough:
        sys.exit(f"{options.data}: fewer than {options.classes} other classes with {enough} drawings or more")
    lines = split_lines(sorted(files), options.held_out, work)
    training = training_options(source, options.epochs)
    tasks = {}
    for seed in options.seeds:
        for count in options.counts:
            data = work / "data" / f"{count}-{seed}"
            prepare_once(sample(lines, count, seed, work / "drawings" / data.name), data)
            for start in STARTS:
                task = f"{start}-{count}-{seed}"
                tasks[task] = commands(task, data, seed, training[start], work)
    failed, begun = [], time.monotonic()
    for task, well in run_all(tasks, options.jobs, work / "logs"):
        failed += [] if well else [task]
        print(f"{task}: {'done' if well else 'FAILED'} after {time.monotonic() - begun:,.0f} s", file=sys.stderr)
    rows = []
    print(f"{'per class':9} {'start':8} {'seeds':>5}{'top-1':>16}  {'top-3':>16} {'epochs':>7} {'minutes':>8}")
    for count in options.counts:
        for start in STARTS:
            done = [s for s in options.seeds if Path(work, "reports", f"{start}-{count}-{s}", METRICS).exists()]
            if done:
                rows.append(row(count, start, done, work))
                print(line(rows[-1]))
    result = {
        "input": options.data.name, "classes": sorted(f.stem for f in files), "held_out": options.held_out,
        "source": {"classes": list(source.classes), "train": source.info["data"]["train"]} | source.arguments,
        "jobs": options.jobs, "rows": rows,
    }  # fmt: skip
    if rows:
        print(write_result("few", result))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; see {work / 'logs'}")


if __name__ == "__main__":
    main()
