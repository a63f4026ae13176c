"""Measures how much each part of the recipe `strong` contributes to accuracy.

    python benchmarks/bench_ablation.py [DATA_DIR] --out WORK [--drawings N] [--epochs N] [--seeds 1 2 3] [--jobs 2]

Trains with the whole recipe, and with one part removed at a time, each in its own process. The training drawings are
the training split of --drawings drawings sampled from DATA_DIR (default: procedural doodles), whatever their
`recognized` field says. Accuracy is measured on the validation split of all of DATA_DIR. The split is a hash of the
strokes, so none of these drawings is trained on. The validation loss of the sample selects the epoch. Repeat the
command to resume.

The contribution of a part is the accuracy with the whole recipe minus the accuracy without the part, for the same seeds
and drawings. The table gives the mean difference and a 95 % interval (see common.half_width). The interval's share for
the choice of drawings is the standard error, over drawings, of the difference averaged over seeds.

How to read the results:

- They hold for this number of drawings and epochs. Regularization contributes more with fewer drawings, and less with
  fewer epochs.
- A single seed has no interval for the choice of seeds, so the table then gives no verdict.
- At 95 %, one in twenty parts that contribute nothing will seem to contribute something.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import half_width, prepare_once, run_all, sample_lines, write_result

from qdfast.dataset.prepared import open_prepared
from qdfast.quickdraw.doodles import write_doodles
from qdfast.storage.files import replacing

RECIPE = "strong"


class Part(NamedTuple):
    """How a part is removed: recipe fields to change, and constants of ``learn.training.augment`` to set to 0."""

    recipe: dict[str, Any] = {}  # noqa: RUF012 - not changed
    augment: tuple[str, ...] = ()


WHOLE = "nothing"
PARTS = {
    WHOLE: Part(),
    "augmentation": Part({"augmented": False}),
    "label smoothing": Part({"label_smoothing": 0.0}),
    "weight decay": Part({"weight_decay": 1e-9}),  # 0 would select another optimizer
    "AdamW": Part({"weight_decay": 0.0}),  # this makes it Adam, without gradient clipping and with a longer memory
    "warm-up": Part({"warm_up": 0}),
    "warm-up and cosine": Part({"patience": 1000}),
    "mirror": Part(augment=("MIRRORED",)),
    "cut": Part(augment=("CUT",)),
    "strokes left out": Part(augment=("STROKES",)),
    "points left out": Part(augment=("POINTS",)),
    "scale, shear, turn": Part(augment=("SCALE", "SHEAR", "TURN")),
    "bend": Part(augment=("BEND",)),
    "shake": Part(augment=("SHAKE",)),
}


def name_of(part: str, seed: int, options: argparse.Namespace) -> str:
    return f"{options.model}-{options.epochs}-without-{part.replace(', ', '-').replace(' ', '-')}-{seed}"


def ranks_path(part: str, seed: int, options: argparse.Namespace) -> Path:
    """The file of an int64 array (n,): for each validation drawing, how many classes were likelier than its own."""
    return Path(options.out, "ranks", f"{name_of(part, seed, options)}.npy")


def train_without(part: str, seed: int, options: argparse.Namespace) -> None:
    """Train without a part, and write the ranks. Changes the recipe and the augmentation of this process for good."""
    from qdfast.learn.evaluation.evaluate import map_labels
    from qdfast.learn.predict import predict_rows
    from qdfast.learn.training import augment
    from qdfast.learn.training.recipes import RECIPES
    from qdfast.learn.training.runs import load_run
    from qdfast.learn.training.train import train

    how = PARTS[part]
    for constant in how.augment:
        if not getattr(augment, constant):
            sys.exit(f"{part}: augment.{constant} is already 0")
        setattr(augment, constant, 0.0)
    recipe = f"{RECIPE} without {part}"
    RECIPES[recipe] = RECIPES[RECIPE]._replace(**how.recipe)
    out = Path(options.out, "runs", name_of(part, seed, options))
    train(options.out / "data", out, model=options.model, recipe=recipe, epochs=options.epochs, seed=seed)
    run, rows = load_run(out), open_prepared(options.out / "all").rows("validation")
    probabilities, labels = predict_rows(run.load_model(), rows, run.input_spec), map_labels(rows, run.classes)
    ranks = (probabilities > probabilities[np.arange(len(rows)), labels][:, None]).sum(axis=1)
    path = ranks_path(part, seed, options)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, ranks)


def worth(whole: np.ndarray, without: np.ndarray, k: int) -> tuple[float, float]:
    """The mean difference in top-``k`` accuracy, and the half-width of its interval, from ranks (seeds, drawings)."""
    differences = (whole < k).astype(float) - (without < k)
    by_seed, by_drawing = differences.mean(axis=1), differences.mean(axis=0)
    return float(by_seed.mean()), half_width(by_seed.tolist(), float(by_drawing.std(ddof=1)) / len(by_drawing) ** 0.5)


def report(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the table and return its rows. Uses the seeds that finished both with and without the part."""
    found: dict[str, dict[int, np.ndarray]] = {
        part: {s: np.load(path) for s in options.seeds if (path := ranks_path(part, s, options)).exists()}
        for part in PARTS
    }
    print(f"{'removed':24} {'seeds':>5} {'top-1':>8} {'top-3':>8}  {'adds to top-1':>15}  {'adds to top-3':>15}")
    rows = []
    for part, by_seed in found.items():
        seeds = sorted(by_seed.keys() & found[WHOLE].keys())
        if not seeds:
            continue
        without, whole = (np.stack([ranks[s] for s in seeds]) for ranks in (by_seed, found[WHOLE]))
        row = {"taken_out": part, "seeds": seeds, "n": without.shape[1]}
        row |= {f"top{k}_by_seed": (without < k).mean(axis=1).tolist() for k in (1, 3)}
        text = f"{part:24} {len(seeds):5} {(without < 1).mean():8.2%} {(without < 3).mean():8.2%}"
        if part != WHOLE:
            for k in (1, 3):
                mean, half = worth(whole, without, k)
                row |= {f"worth_top{k}": mean, f"worth_top{k}_half_width": half}
                text += f"  {mean:+7.2%} ± {half:5.2%}"
            first = row["worth_top1"], row["worth_top1_half_width"]
            if len(seeds) > 1:  # one seed does not show the variation between seeds
                text += "  helps" if first[0] > first[1] else "  hurts" if first[0] < -first[1] else ""
        rows.append(row)
        print(text)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files; default: procedural doodles")
    parser.add_argument("--out", type=Path, required=True, metavar="WORK", help="directory for data, runs and logs")
    parser.add_argument("--model", default="stroke_conv", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument(
        "--drawings",
        type=int,
        default=12_000,
        help="drawings to sample; a tenth is for validation (default: %(default)s)",
    )
    parser.add_argument("--epochs", type=int, default=10, help="epochs per run (default: %(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--jobs", type=int, default=1, help="runs to train at once (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="default: all")
    parser.add_argument(
        "--here", action="store_true", help="train in this process, with the first of --parts and of --seeds"
    )
    options = parser.parse_args()
    if options.here:
        train_without(options.parts[0], options.seeds[0], options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(options.out / "doodles")
    prepare_once(files, options.out / "all")
    prepare_once(sample_lines(files, options.out / "drawings", options.drawings), options.out / "data")

    fixed = [sys.executable, __file__, "--here", "--out", str(options.out), "--model", options.model]
    fixed += ["--epochs", str(options.epochs)]
    tasks = {
        name_of(part, seed, options): [[*fixed, "--parts", part, "--seeds", str(seed)]]
        for seed in options.seeds
        for part in dict.fromkeys([WHOLE, *options.parts])
        if not ranks_path(part, seed, options).exists()
    }
    failed, begun = [], time.monotonic()
    for task, well in run_all(tasks, options.jobs, options.out / "logs"):
        failed += [] if well else [task]
        print(f"{task}: {'done' if well else 'FAILED'} after {time.monotonic() - begun:,.0f} s", file=sys.stderr)
    trained = sum(open_prepared(options.out / "data").counts("train").values())
    print(f"{options.model}, {trained:,} training drawings, {options.epochs} epochs")
    result = {
        "input": options.data.name if options.data else "doodles", "model": options.model, "recipe": RECIPE,
        "drawings": trained, "epochs": options.epochs, "rows": report(options),
    }  # fmt: skip
    print(write_result("ablation", result))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; see {options.out / 'logs'}")


if __name__ == "__main__":
    main()
