"""`qdfast info`: describe drawings, prepared data, runs, models, reports and the installation as text."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from .. import _simd
from .._core import LEVELS, SIDE, best_level
from .._printable import printable
from .._suggest import similar_path
from ..classifier import Classifier
from ..dataset.prepared import Prepared
from ..drawings import NOT_GIVEN
from ..errors import DataError
from ..formats.bitmap_files import read_bitmap_file
from ..formats.sketch_rnn import split_sizes
from ..ndjson import read_ndjson
from ..parse_report import add_counts, explain
from ..stats import DeltaStats
from ..storage import names, sealed_json
from ..storage.directories import (
    DRAWINGS,
    MODEL,
    PREPARED,
    REPORT,
    RUN,
    VERSION,
    contents_of,
    subdirectories,
    versions_in,
)
from ..storage.model_info import read_model_info
from ..storage.progress import counted
from ..storage.source_files import NoDrawings, SourceFile, expand
from ..storage.streams import Peeked, in_memory, unwrap
from .verify import verified

PACKAGES = (
    *("numpy", "orjson", "xxhash", "tensorflow", "keras", "scikit-learn"),
    *("grpcio", "protobuf", "tensorflow-serving-api", "onnxruntime"),
)


class Description(NamedTuple):
    """What a path holds: ``lines`` for people, and ``facts`` for programs, which are JSON."""

    lines: list[str]
    facts: dict[str, Any]

    @property
    def text(self) -> str:
        """The lines, printable."""
        return "\n".join(map(printable, self.lines))


def installation() -> Description:
    """Versions of qdfast and its dependencies, the machine, and the SIMD level of the scanner.

    Raises:
        DataError: ``$QDFAST_SIMD`` names a level that this CPU does not have.
    """
    supported = ", ".join(LEVELS[: best_level() + 1])
    out = {
        "qdfast": version("qdfast"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores",
        "scanner": f"{LEVELS[_simd.level()]} (this CPU supports {supported}; set {_simd.VARIABLE} to choose)",
    }
    for name in PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return Description([f"{name:<11} {value}" for name, value in out.items()], out)


def describe(path: str | os.PathLike[str], *, raw: bool = False, verify: bool = False) -> str:
    """``description`` as text: a few lines."""
    return description(path, raw=raw, verify=verify).text


def description(path: str | os.PathLike[str], *, raw: bool = False, verify: bool = False) -> Description:
    """Describe the file or directory ``path``.

    Args:
        path: drawings, prepared data, a run, a report or a model.
        raw: simplify the strokes of ndjson files first, as in ``read_ndjson``.
        verify: compare the files of prepared data, a run or a model with the digests that were recorded when they were
            written, and tell the result.

    Raises:
        DataError: qdfast neither reads nor writes such a path, it is damaged, or there is nothing to verify.
        OSError: ``path`` cannot be read.
    """
    path = Path(path)
    try:
        lines, facts = _describe(path, raw)
        facts = {"path": str(path), **facts}
        if verify:
            facts["verified"] = verified(path)
            lines = [*lines, f"verified: {facts['verified']}"]
        return Description(lines, facts)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise DataError(f"{path}: damaged, or written by another version of qdfast: {type(e).__name__}: {e}") from e


def _describe(path: Path, raw: bool) -> Description:
    kind = contents_of(path)
    if kind == PREPARED:
        return _prepared(Prepared(path))
    if kind == RUN:
        return _run(path)
    if kind == REPORT:
        facts = orjson.loads((path / names.METRICS).read_bytes())
        return Description((path / names.REPORT_TEXT).read_text().split("\n"), {"contains": REPORT, "metrics": facts})
    if kind == MODEL:
        return _model(path)
    if kind == VERSION:
        about = read_model_info(path)
        return Description([f"{path}: {VERSION}", *_about(about)], {"contains": VERSION, "about": about})
    if kind is None and (models := subdirectories(path, MODEL)):
        versions = {str(model): versions_in(model) for model in models}
        return Description(
            [_versions(*model) for model in versions.items()], {"contains": "models", "models": versions}
        )
    if not path.exists():
        raise DataError(f"{path}: no such file or directory{similar_path(path)}")
    if path.suffix == ".onnx" and path.is_file():
        about = Classifier(path).info
        return Description([f"{path}: {VERSION}", *_about(about)], {"contains": VERSION, "about": about})
    passed_over: list[str] = []
    try:
        files = expand(path, bitmaps=True, log=passed_over.append)
    except NoDrawings as e:
        if kind is None and path.is_dir():
            raise DataError(f"{e}; nor is it a prepared directory, run, report or model") from e
        raise
    own_split = [f"{file.name}: sketch-rnn's own split: {_split_of(file)}" for file in files if file.form == "npz"]
    lines, facts = (_bitmaps if files[0].kind == "bitmaps" else _drawings)(path, files, raw)
    return Description([*lines, *own_split, *passed_over], {"contains": DRAWINGS, **facts})


def _split_of(file: SourceFile) -> str:
    with file.open() as opened:
        stream = Peeked(opened)
        inner = unwrap(stream, file.name)[1]
        if inner is stream and opened.seekable() and file.member is None:
            opened.seek(0)
            whole = opened
        else:
            whole = in_memory(inner, file.name)
        sizes = split_sizes(whole, file.name)
    return ", ".join(f"{split} {n:,}" for split, n in sizes.items())


def _drawings(path: Path, files: Sequence[SourceFile], raw: bool) -> Description:
    drawings = read_ndjson(files, recognized="any", raw=raw)
    if not len(drawings) and drawings.report:
        raise DataError(f"{path}: no drawings: {explain(drawings.report)}")
    classes = list(dict.fromkeys(file.label for file in files))
    out = [f"{path}: {drawings!r}", f"class by file name: {', '.join(classes)}", *str(drawings.report).split("\n")]
    lengths = sorted(drawings.lengths.tolist())
    quantiles = [lengths[int(q * (len(lengths) - 1))] for q in (0, 0.5, 0.9, 0.99, 1)]
    out.append(
        "points per drawing: minimum {}, median {}, 90th percentile {}, 99th percentile {}, maximum {}".format(
            *quantiles
        )
    )
    known = {"true": 1, "false": 0, "not given": NOT_GIVEN}
    counts = {name: int((drawings.recognized == value).sum()) for name, value in known.items()}
    out.append(f"recognized: {', '.join(f'{name} {count:,}' for name, count in counts.items())}")
    stats = drawings.delta_stats()
    out.append(_stats(stats))
    facts = {
        "kind": "strokes",
        "drawings": len(drawings),
        "strokes": len(drawings.stroke_offsets) - 1,
        "points": len(drawings.x),
        "classes": classes,
        "left_out": dict(drawings.report.rejected) if drawings.report else {},
        "points_per_drawing": dict(zip(("minimum", "median", "p90", "p99", "maximum"), quantiles, strict=True)),
        "recognized": counts,
        "steps": _steps(stats),
    }
    return Description(out, facts)


def _bitmaps(path: Path, files: Sequence[SourceFile], raw: bool) -> Description:
    found = [read_bitmap_file(file) for file in files]
    counts = add_counts(*({printable(bitmaps.words[0]): len(bitmaps)} for bitmaps in found))
    n = sum(counts.values())
    ink = sum(int(bitmaps.pixels.sum(dtype=np.int64)) for bitmaps in found)
    width = max(len("class"), *map(len, counts))
    lines = [
        f"{path}: bitmaps of {SIDE} x {SIDE} pixels, {counted(n, 'drawing')} in {counted(len(counts), 'class')}",
        f"ink: {ink / (255 * n * SIDE * SIDE):.2%} of the pixels",
        f"{'class':{width}}  {'drawings':>10}",
    ]
    lines += [f"{name:{width}}  {count:10,}" for name, count in counts.items()]
    facts = {"kind": "bitmaps", "drawings": n, "classes": dict(counts), "ink": ink / (255 * n * SIDE * SIDE)}
    return Description(lines, facts)


def _steps(stats: DeltaStats) -> dict[str, Any]:
    return {"n": stats.n, "mean": stats.mean.tolist(), "std": stats.std.tolist()}


def _stats(stats: DeltaStats) -> str:
    (mx, my), (sx, sy) = stats.mean, stats.std
    return (
        f"steps: {stats.n:,}; dx {mx:.3f} ± {sx:.3f}, dy {my:.3f} ± {sy:.3f} (mean ± standard deviation, 0..255 scale)"
    )


def _prepared(data: Prepared) -> Description:
    counts = {split: data.counts(split) for split in names.SPLITS}
    width = max(len(printable(name)) for name in data.classes)
    lines = [
        f"{data.path}: prepared data, {counted(data.manifest['drawings'], 'drawing')} in "
        f"{counted(len(data.classes), 'class')}, from {counted(len(data.manifest['sources']), 'source')}",
        f"kind: {data.kind}",
        f"options: {data.manifest['options']}",
        f"digest: {data.digest}",
        *([f"training {_stats(data.stats('train'))}"] if data.kind == "strokes" else []),
        f"{'class':{width}}  {'train':>10}  {'validation':>10}",
    ]
    for c in data.classes:
        lines.append(f"{printable(c):{width}}  {counts['train'][c]:10,}  {counts['validation'][c]:10,}")
    facts = {
        "contains": PREPARED,
        "kind": data.kind,
        "drawings": data.manifest["drawings"],
        "sources": len(data.manifest["sources"]),
        "options": data.manifest["options"],
        "digest": data.digest,
        "classes": {c: {split: counts[split][c] for split in counts} for c in data.classes},
        "steps": _steps(data.stats("train")) if data.kind == "strokes" else None,
    }
    return Description(lines, facts)


def _run(path: Path) -> Description:
    info = sealed_json.load((path / names.RUN).read_bytes())
    lines = [f"{path}: a training run"]
    lines += [f"{name}: {_short(value)}" for name, value in info.items()]
    log = path / "log.csv"
    if not log.exists():
        lines.append("no epoch has finished yet")
    else:
        rows = log.read_text().splitlines()
        lines += ["", *rows[:1], *rows[1:][-10:]]
    history = path / names.HISTORY
    epochs = sealed_json.load(history.read_bytes())["epochs"] if history.exists() else []
    return Description(lines, {"contains": RUN, **info, "epochs": epochs})


def _model(path: Path) -> Description:
    versions = versions_in(path)
    about = read_model_info(path / str(versions[-1]))
    facts = {"contains": MODEL, "versions": versions, "newest": about}
    return Description([_versions(str(path), versions), *_about(about)], facts)


def _versions(path: str, versions: list[int]) -> str:
    return f"{path}: a model directory, versions {', '.join(map(str, versions))}"


def _about(about: dict[str, Any]) -> list[str]:
    return [f"{name}: {_short(value)}" for name, value in about.items() if name != "files"]


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 20:
        return ", ".join(map(str, value[:20])) + f", … ({len(value)})"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) + "}"
    return str(value)
