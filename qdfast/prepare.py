"""ndjson files to a prepared directory: shards, statistics, a split, and a manifest that lists it all.

The result is a function of the sources' bytes and the options. Each source's shards carry a key made of both in their
names; its record (`<name>-<key>.json`) is written when they are complete. So a run that was killed goes on where it
stopped, a source that changed is done again and no other, and the old manifest stays valid until the new one replaces
it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from .blocks import FileBlocks, expand, label_of
from .drawings import Drawings, concat
from .errors import DataError
from .files import TEMPORARY, only_writer, remove_temporaries, write_bytes
from .ndjson import ParserPool, Recognized, iter_ndjson
from .progress import Progress
from .report import ParseReport, add_counts, explain, merge
from .shards import FORMAT, MANIFEST, SHARDS, SPLITS, Prepared, write_shard
from .stats import DeltaStats

SHARD_DRAWINGS = 1 << 16

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What the shards depend on beside the sources."""

    recognized: Recognized = "only"
    label: Literal["file", "word"] = "file"
    validation: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise DataError(f"validation is {self.validation}: it must be a fraction, at least 0 and below 1")

    def to_dict(self) -> dict[str, Any]:
        return {"recognized": self.recognized, "label": self.label, "validation": self.validation}

    def split(self, drawings: Drawings) -> NDArray[np.uint8]:
        """uint8 (N,): the split each drawing belongs to, an index into ``SPLITS``; a function of its strokes alone."""
        return (drawings.hashes() < np.uint64(int(self.validation * 2**64))).astype(np.uint8)


def prepare(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    recognized: Recognized = "only",
    label: Literal["file", "word"] = "file",
    validation: float = 0.1,
    threads: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Prepared:
    """Prepare ndjson files for training; see the module for what happens when it is run again.

    Args:
        sources: paths of .ndjson or .ndjson.gz files, or directories of them.
        out: the directory to write; it becomes what this call says, and files of earlier calls that are not part
            of that are removed.
        recognized: as in ``read_ndjson``.
        label: the class of a drawing is the "file"'s name, or the line's "word".
        validation: the share of drawings in the validation split. Which ones: a hash of the strokes, so equal
            drawings are on the same side whatever else is added.
        threads: parsing threads; default: one per core.
        log: called with one line per source.

    Raises:
        DataError: no sources, a source or class without drawings, another process preparing ``out``.
        OSError: what cannot be read or written. No half-written file is left under a final name.
    """
    options = Options(recognized, label, validation)
    paths = [Path(p) for p in expand(sources)]  # type: ignore[arg-type]
    out = Path(out)
    with only_writer(out, "preparing"):
        shards = out / SHARDS
        shards.mkdir(exist_ok=True)
        remove_temporaries(out)
        remove_temporaries(shards)
        known = _records(shards)
        records: dict[str, Record] = {}
        size = sum(p.stat().st_size for p in paths)
        with Progress("prepare", size, "bytes") as progress, ParserPool(threads) as pool:
            for path in paths:
                record = _known_record(path, options, known)
                if record:
                    log(f"{path}: {record['lines']['kept']:,} drawings, as prepared before")
                else:
                    record = _Writer(path, options, shards).run(pool, progress, log)
                if record["key"] in records:
                    log(f"{path}: left out: the same as {records[record['key']]['source']}")
                    continue
                records[record["key"]] = record
        manifest = _manifest(list(records.values()), options)
        write_bytes(out / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        _remove_others(shards, list(records.values()))
    return Prepared(out)


def _key(sha256: str, label: str, options: Options) -> str:
    text = orjson.dumps([FORMAT, sha256, label, options.to_dict()], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def _records(shards: Path) -> list[Record]:
    """The sources finished by earlier runs."""
    records = []
    for path in sorted(shards.glob("*.json")):
        with suppress(orjson.JSONDecodeError):  # a record that a power failure emptied is none
            records.append(orjson.loads(path.read_bytes()))
    return [r for r in records if all((shards / s["file"]).exists() for s in r["shards"])]


def _stem(label: str, key: str) -> str:
    """How the files of a source are named."""
    return re.sub(r"[^\w.-]+", "_", label) + "-" + key


def _known_record(path: Path, options: Options, known: list[Record]) -> Record | None:
    """The record of an earlier run for exactly this source, if there is one."""
    size, label = path.stat().st_size, label_of(path)
    candidates = [r for r in known if r["size"] == size and r["label"] == label and r["options"] == options.to_dict()]
    if not candidates:
        return None
    with path.open("rb") as file:
        sha256 = _digest(file)
    for record in candidates:
        if record["key"] == _key(sha256, label, options):
            return {**record, "source": str(path)}
    return None


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    while n := file.readinto(buffer):
        digest.update(buffer[:n])
    return digest.hexdigest()


class _Writer:
    """Turns one source into shards and a record; on an error, leaves nothing."""

    def __init__(self, path: Path, options: Options, shards: Path) -> None:
        self.path, self.options, self.shards = path, options, shards
        self.label = label_of(path)
        self.pending: list[Drawings] = []
        self.written: list[tuple[Path, int, int]] = []  # temporary path, drawings, points
        self.classes: dict[str, dict[str, tuple[int, DeltaStats]]] = {}

    def run(self, pool: ParserPool, progress: Progress, log: Callable[[str], None]) -> Record:
        blocks = FileBlocks(self.path, digest=True, seen=progress.update)
        try:
            reports = []
            for batch in iter_ndjson(blocks, recognized=self.options.recognized, pool=pool):
                report, batch = self._labelled(batch)
                reports.append(report)
                self.pending.append(batch)
                while sum(map(len, self.pending)) >= SHARD_DRAWINGS:
                    self._write(SHARD_DRAWINGS)
            self._write(SHARD_DRAWINGS)
            report = merge(reports)
            if not report.kept:
                raise DataError(f"{self.path}: no drawings: {explain(report)}")
            log(f"{self.path}: {explain(report)}")
            return self._commit(blocks.sha256, report)
        except BaseException:
            for path, _, _ in self.written:
                path.unlink(missing_ok=True)
            raise

    def _labelled(self, batch: Drawings) -> tuple[ParseReport, Drawings]:
        """The batch with its classes as words, those without one left out and counted."""
        assert batch.report is not None
        report = batch.report
        if self.options.label == "file":
            columns = {name: getattr(batch, name) for name in _KEPT}
            return report, Drawings(**columns, words=(self.label,))
        named = np.array([w != "" for w in batch.words])[batch.word_codes]
        if missing := len(batch) - int(named.sum()):
            batch = batch[named]
            rejected = add_counts(report.rejected, {"field_missing": missing})
            counts = report.to_dict() | {"kept": len(batch), "rejected": rejected}
            report = ParseReport(**counts, examples=report.examples)
        return report, batch

    def _write(self, limit: int) -> None:
        pending = concat(self.pending)
        shard, rest = pending[:limit], pending[limit:]
        self.pending = [rest] if len(rest) else []
        if not len(shard):
            return
        split = self.options.split(shard)
        group = shard.word_codes * len(SPLITS) + split.astype(np.int32)
        stats = shard._group_stats(group, len(shard.words) * len(SPLITS))
        counts = np.bincount(group, minlength=len(stats))
        for g, (n, deltas) in enumerate(zip(counts.tolist(), stats, strict=True)):
            name, side = shard.words[g // len(SPLITS)], SPLITS[g % len(SPLITS)]
            if n:
                by_split = self.classes.setdefault(name, dict.fromkeys(SPLITS, (0, DeltaStats())))
                by_split[side] = (by_split[side][0] + n, by_split[side][1] + deltas)
        path = self.shards / f"{TEMPORARY}{os.getpid()}-shard-{len(self.written):05d}"
        self.written.append((path, len(shard), len(shard.x)))
        write_shard(path, shard, split)

    def _commit(self, sha256: str, report: ParseReport) -> Record:
        key = _key(sha256, self.label, self.options)
        stem = _stem(self.label, key)
        names = [f"{stem}-{i:05d}.safetensors" for i in range(len(self.written))]
        record = {
            "source": str(self.path),
            "label": self.label,
            "size": self.path.stat().st_size,
            "sha256": sha256,
            "key": key,
            "options": self.options.to_dict(),
            "shards": [
                {"file": name, "drawings": n, "points": points}
                for name, (_, n, points) in zip(names, self.written, strict=True)
            ],
            "lines": report.to_dict(),
            "classes": {
                name: {side: {"drawings": n, "deltas": d.to_dict()} for side, (n, d) in by_split.items()}
                for name, by_split in sorted(self.classes.items())
            },
        }
        for name, (path, _, _) in zip(names, self.written, strict=True):
            path.replace(self.shards / name)
        write_bytes(self.shards / f"{stem}.json", orjson.dumps(record, option=orjson.OPT_INDENT_2))
        return record


_KEPT = ("x", "y", "stroke_offsets", "drawing_offsets", "key_id", "recognized", "countrycode", "timestamp")


def _manifest(records: list[Record], options: Options) -> dict[str, Any]:
    classes: dict[str, dict[str, dict[str, Any]]] = {}
    for name in sorted({name for r in records for name in r["classes"]}):
        parts = [r["classes"][name] for r in records if name in r["classes"]]
        classes[name] = {
            side: {
                "drawings": sum(p[side]["drawings"] for p in parts),
                "deltas": DeltaStats.merge(DeltaStats.from_dict(p[side]["deltas"]) for p in parts).to_dict(),
            }
            for side in SPLITS
        }
    return {
        "format": FORMAT,
        "options": options.to_dict(),
        "drawings": sum(c[side]["drawings"] for c in classes.values() for side in SPLITS),
        "rejected": add_counts(*(r["lines"]["rejected"] for r in records)),
        "classes": classes,
        "sources": [{k: v for k, v in r.items() if k not in ("classes", "options")} for r in records],
    }


def _remove_others(shards: Path, records: list[Record]) -> None:
    """Remove what the manifest does not list."""
    mine = {s["file"] for r in records for s in r["shards"]}
    mine |= {f"{_stem(r['label'], r['key'])}.json" for r in records}
    for path in shards.iterdir():
        if path.name not in mine and path.suffix in (".json", ".safetensors"):
            path.unlink()
