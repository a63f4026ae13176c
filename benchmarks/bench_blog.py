"""Repeats the blog's experiments: accuracy and time of its four classifiers.

    python benchmarks/bench_blog.py [BITMAPS] [--strokes DIR]

BITMAPS holds .npy files as Google publishes them (numpy_bitmap); default: rendered procedural doodles. The first
experiment separates cats from sheep, with more and more drawings of each. The second has five classes: the blog's, if
the files are there. A bitmap does not name its strokes, so a third experiment compares our stroke network with the
four on five classes of the .ndjson files in DIR, in Google's simplified form (default: doodles, unless BITMAPS is
given). There, the four get the bitmaps of the same drawings, which are byte for byte Google's.

All classes of an experiment have equally many drawings. A quarter of these, selected by a hash of the drawing, is the
test set: the same for all models and sizes, and never trained on. A tenth of the rest is the validation split, which
stops the training of networks. Models are trained with their defaults, except that networks use smaller batches,
because there are few drawings.

Columns: training is the time of one call of `train`, including validation and writing. Prediction is the time for all
test drawings, measured on the second pass; for strokes it includes rendering them as bitmaps. Certainty is the mean
probability of the likeliest class: if it equals the accuracy, the probabilities are calibrated on average.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import chart
import numpy as np
import orjson
from common import RESULTS, seconds, write_result
from sklearn.metrics import roc_auc_score

import qdfast
from qdfast._quiet import import_quietly
from qdfast.bitmaps import AnyDrawings
from qdfast.dataset.labels import labelled
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared
from qdfast.dataset.rows import Rows
from qdfast.dataset.shard_writer import PrepareOptions
from qdfast.learn.evaluation.evaluate import map_labels
from qdfast.learn.metrics import score
from qdfast.learn.models.baselines import BASELINES
from qdfast.learn.predict import predict_rows
from qdfast.learn.training.runs import load_run
from qdfast.learn.training.train import train
from qdfast.quickdraw.doodles import write_doodles

TWO = ("cat", "sheep")
FIVE = ("dog", "octopus", "bee", "hedgehog", "giraffe")
ANIMALS = ("sheep", "horse", "lion", "rabbit", "duck", "cat", "bird", "flamingo")  # replacements for missing classes
DOODLES = ("envelope", "fish", "flower", "house", "snowman")
SIZES = (100, 250, 500, 1000, 2500, 5000)  # and all that are available
TWO_MOST, FIVE_MOST = 7500, 2500  # training drawings per class

BITMAPS: dict[str, dict[str, Any]] = {"random_forest": {}, "knn": {}, "mlp": {}, "bitmap_cnn": {"batch": 32}}
STROKES: dict[str, dict[str, Any]] = {**BITMAPS, "stroke_conv": {"batch": 64}}

TEST = 0.25
VALIDATION = TEST + (1 - TEST) * 0.1  # prepare's split is by the same hash: below TEST it finds no drawing


class Experiment:
    """Equally many drawings of some classes: a ``test`` set that is the same for all models, and training drawings.

    Args:
        files: a .npy or .ndjson file a class.
        most: maximum number of training drawings per class.
    """

    def __init__(self, files: Sequence[Path], most: int) -> None:
        found = [read(file) for file in files]
        asked = [PrepareOptions(validation=TEST).split(drawings) == 1 for drawings in found]
        few = min(round(most * TEST / (1 - TEST)), *(int(of.sum()) for of in asked))
        test = [drawings[of][:few] for drawings, of in zip(found, asked, strict=True)]
        self.test = Rows.merge([Rows.from_drawings([(d, d.word_codes)], d.words) for d in test])
        self.classes = [file.stem for file in files]
        self.most = min(most, *(int((~of).sum()) for of in asked))
        self._training = [drawings[~of][: self.most] for drawings, of in zip(found, asked, strict=True)]

    def prepared(self, n: int, out: Path) -> Prepared:
        """Prepare the first ``n`` training drawings of each class."""
        out.mkdir(parents=True)
        training = zip(self.classes, self._training, strict=True)
        files = [write(drawings[:n], out / "files", name) for name, drawings in training]
        return prepare(files, out / "data", recognized="any", validation=VALIDATION)

    def run(self, models: dict[str, dict[str, Any]], sizes: Sequence[int], work: Path) -> dict[str, Any]:
        """Train and test every model at every size; prints each row as soon as it is known."""
        each = len(self.test) // len(self.classes)
        print(f"\n{', '.join(self.classes)}: {each:,} test drawings of each")
        print(f"{'training each':>16}  {'':13}  {'accuracy':>16}  {'AUC':>6}  {'certainty':>9}", end="")
        print(f"  {'training':>9}  {'prediction':>10}")
        rows = []
        for n in sizes:
            data = self.prepared(n, work / str(n))
            for model, arguments in models.items():
                row = {"drawings_of_each": n, **self._judge(data, model, arguments, work / f"{n}-{model}")}
                rows.append(row)
                accuracy = f"{row['accuracy']:.2%} ± {row['accuracy_95']:.2%}"
                print(f"{n:16,}  {model:13}  {accuracy:>16}  {row['auc']:6.4f}  {row['certainty']:9.2%}", end="")
                print(f"  {row['training_s']:7.1f} s  {row['prediction_s']:8.2f} s", flush=True)
        return {"classes": self.classes, "test_drawings": len(self.test), "rows": rows}

    def _judge(self, data: Prepared, model: str, arguments: dict[str, Any], out: Path) -> dict[str, Any]:
        begun = time.perf_counter()
        trained = train(data, out, model=model, **arguments, log=lambda line: None)
        training = time.perf_counter() - begun
        run = load_run(out)
        net, labels = run.load_model(), map_labels(self.test, run.classes)
        answers = predict_rows(net, self.test, run.input_spec)
        prediction = seconds(lambda: predict_rows(net, self.test, run.input_spec))
        accuracy = score(answers, labels, run.classes)["top1"]
        return {
            "model": model,
            "arguments": run.arguments,
            "epochs": trained.epochs,
            "accuracy": accuracy,
            "accuracy_95": 1.96 * (accuracy * (1 - accuracy) / len(labels)) ** 0.5,
            "auc": auc(answers, labels),
            "certainty": float(answers.max(axis=1).mean()),
            "training_s": round(training, 3),
            "prediction_s": round(prediction, 4),
        }


def read(file: Path) -> AnyDrawings:
    """The drawings of a file, labelled with the file's name."""
    if file.suffix == ".npy":
        return qdfast.read_bitmaps(file)
    return labelled(qdfast.read_ndjson(file, recognized="any"), "file", file.stem)[0]


def write(drawings: AnyDrawings, directory: Path, name: str) -> Path:
    """Write drawings to a file that ``prepare`` reads."""
    directory.mkdir(exist_ok=True)
    if isinstance(drawings, qdfast.Bitmaps):
        np.save(directory / f"{name}.npy", drawings.pixels)
        return directory / f"{name}.npy"
    path = directory / f"{name}.ndjson"
    lines = ({"drawing": [[x.tolist(), y.tolist()] for x, y in strokes]} for strokes in drawings)
    path.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
    return path


def auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve; of more than two classes, the mean of each against the rest."""
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(np.mean([roc_auc_score(labels == c, p) for c, p in enumerate(probabilities.T)]))


def choose(directory: Path, pattern: str, wanted: Sequence[str], instead: Sequence[str]) -> list[Path]:
    """The files of the ``wanted`` classes. A missing class is replaced by another, preferably one of ``instead``."""
    there = {file.stem: file for file in sorted(directory.glob(pattern))}
    ranked = [name for name in dict.fromkeys([*wanted, *instead, *there]) if name in there][: len(wanted)]
    if len(ranked) < len(wanted):
        sys.exit(f"{directory}: found {len(ranked)} {pattern} files, but {len(wanted)} classes are needed")
    if missing := [name for name in wanted if name not in ranked]:
        print(f"{directory.name}: no {', '.join(missing)}; using {', '.join(ranked)}")
    return [there[name] for name in ranked]


def sizes(most: int) -> list[int]:
    """Numbers of drawings to train on, up to all there are."""
    return [*(n for n in SIZES if n < 0.9 * most), most]


def doodles(out: Path, n: int) -> tuple[Path, Path]:
    """Write ``n`` doodles of each of six classes; returns a directory of bitmaps and one of strokes."""
    bitmaps, strokes = out / "bitmaps", out / "strokes"
    bitmaps.mkdir(parents=True)
    for file in write_doodles(strokes, classes=("cat", *DOODLES), per_class=n):
        np.save(bitmaps / f"{file.stem}.npy", read(file).bitmaps())
    return bitmaps, strokes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bitmaps", nargs="?", type=Path, help="directory of .npy files; default: procedural doodles")
    parser.add_argument(
        "--strokes", type=Path, metavar="DIR", help="directory of .ndjson files for the third experiment"
    )
    parser.add_argument(
        "--most", type=int, metavar="N", help="maximum number of training drawings per class; default: the blog's"
    )
    options = parser.parse_args()
    import_quietly("keras")
    import keras

    for baseline in BASELINES.values():
        baseline(2, seed=0)  # imports scikit-learn before anything is timed
    most_two, most_five = (min(n, options.most or n) for n in (TWO_MOST, FIVE_MOST))
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        bitmaps, strokes = options.bitmaps, options.strokes
        if bitmaps is None:
            bitmaps, drawn = doodles(work / "doodles", round(min(1000, most_five) / (1 - TEST)))
            strokes = strokes or drawn
        two = Experiment(choose(bitmaps, "*.npy", TWO, ()), most_two)
        five = Experiment(choose(bitmaps, "*.npy", FIVE, ANIMALS), most_five)
        results = {
            "two": two.run(BITMAPS, sizes(two.most), work / "two"),
            "five": five.run(BITMAPS, [five.most], work / "five"),
        }
        if strokes is not None:
            five = Experiment(choose(strokes, "*.ndjson", FIVE, ANIMALS), most_five)
            results["strokes"] = five.run(STROKES, [five.most], work / "strokes")
    inputs = {"bitmaps": options.bitmaps, "strokes": options.strokes}
    result = {
        "input": {name: path.name if path else "doodles" for name, path in inputs.items()},
        "versions": {name: version(name) for name in ("scikit-learn", "keras", keras.backend.backend())},
        **results,
    }
    print(f"\n{write_result('blog', result)}")
    print(chart.lines(RESULTS / "blog.svg", results["two"]))


if __name__ == "__main__":
    main()
