"""Measures the accuracy of the models, with confidence intervals.

    python benchmarks/bench_accuracy.py [DATA_DIR] --out WORK [--models stroke_conv stroke_lstm+notebook …]
        [--seeds 1 2 3] [--jobs 2] [--train 'stroke_lstm=--epochs 14' …] [--notebook-epochs N] [--judge SRC]

Runs the commands that a user would run: `qdfast prepare` of DATA_DIR (default: procedural doodles; all drawings,
whatever their `recognized` field says) into WORK/data. Then, for every model and seed, `qdfast train` into
WORK/runs/<model>-<seed> and `qdfast evaluate` into WORK/reports/<model>-<seed>. Their output goes to WORK/logs. --jobs
of these run at once, each on its own share of the cores, which affects the seconds. A model is written as
`model[+recipe][@precision]`. Repeat the command to resume. Finished runs are kept, so you can add models and seeds
later; the table shows everything in WORK.

--notebook-epochs adds the Kaggle notebook's own network and recipe (see notebook.py), trained on the same drawings at
full length. This is slow.

Top-1 and top-3 are means over the seeds on the validation split. No network is trained on it, but its loss selects the
epoch (and, with the notebook's recipe, lowers the learning rate), so the figures are slightly too high. --judge
evaluates on drawings that selected nothing.

The 95 % intervals cover other drawings and other seeds. Their half-width is the square root of the sum of
(1.96 √(p (1 − p) / n))² for n drawings, which more seeds do not reduce, and (t s / √k)² for k seeds with standard
deviation s, where t is Student's for k − 1 degrees of freedom. All models are evaluated on the same drawings, so the
difference between two models is more certain than their intervals suggest.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from common import QDFAST, Variant, half_width, prepare_once, run_all, write_result

from qdfast.learn.training.runs import load_run
from qdfast.quickdraw.doodles import write_doodles
from qdfast.storage.names import METRICS

NOTEBOOK = "notebook"


def commands(name: str, variant: Variant | None, seed: int, options: argparse.Namespace) -> list[list[str]]:
    """The commands that train and evaluate a variant, or the notebook if it is None."""
    work = options.out
    data, run, report = str(work / "data"), str(work / "runs" / name), str(work / "reports" / name)
    judged = str(options.judge or data)
    if variant is None:
        script = [sys.executable, str(Path(__file__).with_name("notebook.py"))]
        train = [*script, data, "--out", run, "--report", report, "--epochs", str(options.notebook_epochs)]
        return [[*train, "--seed", str(seed), "--judge", judged]]
    train = [*QDFAST, "train", data, "--out", run, "--seed", str(seed)]
    for key, value in variant.arguments.items():
        train += [f"--{key}", value]
    train += options.train.get(variant.name, options.train.get(variant.model, []))
    return [train, [*QDFAST, "evaluate", run, judged, "--recognized", "any", "--out", report]]


def reported(work: Path, judged: Path) -> dict[str, list[int]]:
    """For each model, the seeds that have been evaluated on ``judged``."""
    found: dict[str, list[int]] = {}
    for file in sorted(work.glob(f"reports/*/{METRICS}")):
        name, _, seed = file.parent.name.rpartition("-")
        if json.loads(file.read_text())["source"] == str(judged):
            found.setdefault(name, []).append(int(seed))
    return found


def figures(work: Path, name: str, seeds: list[int]) -> dict[str, Any]:
    """The row of a model in the table."""
    runs = [load_run(work / "runs" / f"{name}-{seed}") for seed in seeds]
    metrics = [json.loads((work / "reports" / run.name / METRICS).read_text()) for run in runs]
    row: dict[str, Any] = {"model": name, "seeds": seeds, "n": metrics[0]["n"]}
    for key in ("top1", "top3"):
        by_seed = [m[key] for m in metrics]
        p = statistics.mean(by_seed)
        drawn = (p * (1 - p) / row["n"]) ** 0.5
        row |= {key: p, f"{key}_half_width": half_width(by_seed, drawn), f"{key}_by_seed": by_seed}
    arguments = [{key: value for key, value in run.arguments.items() if key != "seed"} for run in runs]
    if any(other != arguments[0] for other in arguments):
        sys.exit(f"{name}: its seeds were trained with different arguments; use another --out")
    histories = [run.history for run in runs]
    row["parameters"] = runs[0].info["parameters"]
    row["epochs"] = [len(history) for history in histories]
    row["seconds"] = [round(sum(epoch["seconds"] for epoch in history), 1) for history in histories]
    row["arguments"] = arguments[0]
    return row | {"versions": runs[0].info["versions"]}


def line(row: dict[str, Any]) -> str:
    shares = [f"{row[key]:8.2%} ± {row[f'{key}_half_width']:6.2%}" for key in ("top1", "top3")]
    parameters = f"{row['parameters']:,}" if row["parameters"] else "-"
    epochs, seconds = statistics.mean(row["epochs"]), statistics.mean(row["seconds"])
    seeds = len(row["seeds"])
    return f"{row['model']:32} {seeds:5}{'  '.join(shares)}  {parameters:>11} {epochs:7.1f} {seconds:9,.0f}"


def training_arguments(text: str) -> tuple[str, list[str]]:
    name, equals, arguments = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL=ARGUMENTS")
    return name, shlex.split(arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files; default: procedural doodles")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="WORK", help="directory for data, runs, reports and logs"
    )
    parser.add_argument(
        "--models", nargs="+", type=Variant.parse, metavar="MODEL[+RECIPE][@PRECISION]",
        default=[Variant.parse(name) for name in ("stroke_conv", "stroke_bilstm", "stroke_lstm")],
        help="default: stroke_conv stroke_bilstm stroke_lstm",
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--jobs", type=int, default=1, help="runs to train at once (default: %(default)s)")
    parser.add_argument(
        "--train", nargs="+", type=training_arguments, default=[], metavar="MODEL=ARGUMENTS",
        help="more arguments for `qdfast train`, for one variant of a model or for all of them",
    )  # fmt: skip
    parser.add_argument(
        "--notebook-epochs", type=int, metavar="N", help="also train the notebook's own network, for N epochs"
    )
    parser.add_argument(
        "--judge", type=Path, metavar="SRC", help="drawings to evaluate on; default: the validation split"
    )
    options = parser.parse_args()
    options.train = dict(options.train)
    options.out.mkdir(parents=True, exist_ok=True)
    files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(options.out / "doodles")
    prepare_once(files, options.out / "data")

    variants: dict[str, Variant | None] = {v.name: v for v in options.models}
    if options.notebook_epochs:
        variants[NOTEBOOK] = None
    wanted = {f"{name}-{seed}": (name, seed) for seed in options.seeds for name in variants}
    tasks = {task: commands(task, variants[name], seed, options) for task, (name, seed) in wanted.items()}
    failed, begun = [], time.monotonic()
    for task, well in run_all(tasks, options.jobs, options.out / "logs"):
        failed += [] if well else [task]
        print(f"{task}: {'done' if well else 'FAILED'} after {time.monotonic() - begun:,.0f} s", file=sys.stderr)
    done = reported(options.out, options.judge or options.out / "data")
    rows = [figures(options.out, name, sorted(seeds)) for name, seeds in done.items()]
    rows.sort(key=lambda row: -row["top1"])
    print(f"{'':32} {'seeds':>5}{'top-1':>16}  {'top-3':>16}  {'parameters':>11} {'epochs':>7} {'seconds':>9}")
    for row in rows:
        print(line(row))
    result = {
        "input": options.data.name if options.data else "doodles",
        "judged_by": options.judge.name if options.judge else "the validation split",
        "jobs": options.jobs, "rows": rows,
    }  # fmt: skip
    if rows:
        print(write_result("accuracy", result))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; see {options.out / 'logs'}")


if __name__ == "__main__":
    main()
