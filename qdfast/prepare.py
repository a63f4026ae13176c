"""Files to a prepared directory: shards, statistics, a split, and a manifest that lists it all.

The result is a function of the sources' bytes and the options. Each source's shards carry a key made of both in their
names; its record (`<name>-<key>.json`) is written when they are complete. So a run that was killed goes on where it
stopped, a source that changed is done again and no other, and the old manifest stays valid until the new one replaces
it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .bitmaps import AnyDrawings, concat_any
from .blocks import FileBlocks, digest_of, expand, has_bitmaps, label_of
from .drawings import Drawings
from .errors import DataError
from .files import TEMPORARY, only_writer, remove_temporaries, write_bytes
from .labels import LABELS, Label, labelled, labelled_bitmaps
from .ndjson import Recognized, iter_ndjson
from .parser import ParserPool
from .progress import Progress
from .report import ParseReport, add_counts, explain, merge
from .shards import FORMAT, MANIFEST, SHARDS, SPLITS, Kind, Prepared, write_shard
from .stats import DeltaStats

SHARD_DRAWINGS = 1 << 16

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What the shards depend on beside the sources."""

    recognized: Recognized = "only"
    label: Label = "file"
    validation: float = 0.1
    raw: bool = False

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise DataError(f"label is {self.label!r}: it must be one of {', '.join(map(repr, LABELS))}")
        if not 0 <= self.validation < 1:
            raise DataError(f"validation is {self.validation}: it must be a fraction, at least 0 and below 1")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def split(self, drawings: AnyDrawings) -> NDArray[np.uint8]:
        """uint8 (N,): the split each belongs to, an index into ``SPLITS``; a function of strokes or pixels alone."""
        return (drawings.hashes() < np.uint64(int(self.validation * 2**64))).astype(np.uint8)


def prepare(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    recognized: Recognized = "only",
    label: Label = "file",
    validation: float = 0.1,
    raw: bool = False,
    threads: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Prepared:
    """Prepare files for training; see the module for what happens when it is run again.

    Args:
        sources: paths of .ndjson or .ndjson.gz files, or directories of them; or of Google's bitmaps, .npy files of
            uint8 (n, 784), which have no strokes, for networks that take bitmaps.
        out: the directory to write; it becomes what this call says, and files of earlier calls that are not part
            of that are removed.
        recognized: as in ``read_ndjson``.
        label: the class of a drawing is the "file"'s name, or the line's "word".
        validation: the share of drawings in the validation split. Which ones: a hash of the strokes (or pixels), so
            equal drawings are on the same side whatever else is added.
        raw: the ndjson sources are raw, and are simplified, as in ``read_ndjson``.
        threads: parsing threads; default: one per core.
        log: called with one line per source.

    Raises:
        DataError: no sources, a source without drawings or that is no regular file, strokes and bitmaps together, an
            argument out of range, another process preparing ``out``.
        OSError: what cannot be read or written. No half-written file is left under a final name.
    """
    options = Options(recognized, label, validation, raw)
    paths = [Path(p) for p in expand(sources, bitmaps=True)]  # type: ignore[arg-type]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: not a regular file: its size and digest go into the manifest")
        if has_bitmaps(path) != has_bitmaps(paths[0]):
            raise DataError(f"{path} and {paths[0]}: bitmaps and strokes cannot be prepared together")
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
                record = _known_record(path, options, known, progress)
                if record and record["key"] in records:
                    log(f"{path}: left out: the same as {records[record['key']]['source']}")
                    continue
                if record:
                    log(f"{path}: {record['lines']['kept']:,} drawings, as prepared before")
                else:
                    record = _Writer(path, options, shards).run(pool, progress, log)
                    known.append(record)
                records[record["key"]] = {"source": str(path), **record}
        kind: Kind = "bitmaps" if has_bitmaps(paths[0]) else "strokes"
        manifest = _manifest(list(records.values()), options, kind)
        write_bytes(out / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        _remove_others(shards, list(records.values()))
    return Prepared(out)


def _key(xxh3: str, label: str, options: Options) -> str:
    of_file = label if options.label == "file" else ""
    text = orjson.dumps([FORMAT, xxh3, of_file, options.to_dict()], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def _records(shards: Path) -> list[Record]:
    """The sources finished by earlier runs whose record and shards are whole; a power failure may have cut them."""
    records = []
    for path in sorted(shards.iterdir()):
        if _OURS.fullmatch(path.name) and path.suffix == ".json":
            with suppress(ValueError, KeyError, TypeError, FileNotFoundError):
                record = orjson.loads(path.read_bytes())
                if all((shards / s["file"]).stat().st_size == s["bytes"] for s in record["shards"]):
                    records.append(record)
    return records


def _stem(label: str, key: str) -> str:
    """How the files of a source are named."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", label)[:80] + "-" + key


_OURS = re.compile(r".*-[0-9a-f]{16}(-\d{5,})?\.(json|safetensors)", re.DOTALL)


def _known_record(path: Path, options: Options, known: list[Record], progress: Progress) -> Record | None:
    """The record of exactly this source, if it was prepared before."""
    candidates = [r for r in known if r["size"] == path.stat().st_size and r["options"] == options.to_dict()]
    if not candidates:
        return None
    key = _key(digest_of(path), label_of(path), options)
    for record in candidates:
        if record["key"] == key:
            progress.update(record["size"])
            return record
    return None


@dataclass(frozen=True)
class _Shard:
    """What is to be known of a written shard: its entry in the manifest, and drawings and sums by class and split."""

    about: Record
    classes: dict[tuple[str, str], tuple[int, DeltaStats]]


def _write(path: Path, batches: list[AnyDrawings], options: Options) -> _Shard:
    """Write batches as one shard."""
    shard = concat_any(batches)
    split = options.split(shard)
    group = shard.word_codes * len(SPLITS) + split.astype(np.int32)
    groups = len(shard.words) * len(SPLITS)
    counts = np.bincount(group, minlength=groups).tolist()
    about: Record = {"drawings": len(shard)}
    if isinstance(shard, Drawings):
        about["points"] = len(shard.x)
        stats = shard._group_stats(group, groups)
    else:
        stats = [DeltaStats()] * groups
    about["bytes"] = write_shard(path, shard, split)
    return _Shard(
        about,
        {
            (shard.words[g // len(SPLITS)], SPLITS[g % len(SPLITS)]): (n, deltas)
            for g, (n, deltas) in enumerate(zip(counts, stats, strict=True))
            if n
        },
    )


class _Writer:
    """Turns one source into shards and a record; on an error, leaves nothing."""

    def __init__(self, path: Path, options: Options, shards: Path) -> None:
        self.path, self.options, self.shards = path, options, shards
        self.label = label_of(path)
        self.size, self.xxh3 = 0, ""  # of the source, known once it is read
        self.pending: list[AnyDrawings] = []
        self.writing: deque[Future[_Shard]] = deque()
        self.paths: list[Path] = []  # of the shards, under temporary names until all are complete
        self.written: list[Record] = []  # what the manifest says of them
        self.classes: dict[str, dict[str, tuple[int, DeltaStats]]] = {}

    def run(self, pool: ParserPool, progress: Progress, log: Callable[[str], None]) -> Record:
        batches = self._bitmaps(progress) if has_bitmaps(self.path) else self._strokes(pool, progress)
        try:
            reports = []
            for batch, report in batches:
                reports.append(report)
                self._add(batch, pool)
            self._write(pool)
            while self.writing:
                self._note(self.writing.popleft().result())
            report = merge(reports)
            if not report.kept:
                raise DataError(f"{self.path}: no drawings: {explain(report)}")
            record = self._commit(report)
            log(f"{self.path}: {explain(report)}")
            return record
        except BaseException:
            wait(self.writing)
            for path in self.paths:
                path.unlink(missing_ok=True)
            raise

    def _strokes(self, pool: ParserPool, progress: Progress) -> Iterator[tuple[AnyDrawings, ParseReport]]:
        blocks = FileBlocks(self.path, digest=True, seen=progress.update)
        how = self.options
        for batch in iter_ndjson(blocks, recognized=how.recognized, raw=how.raw, pool=pool):
            yield labelled(batch, how.label, self.label)
        self.size, self.xxh3 = blocks.size, blocks.xxh3

    def _bitmaps(self, progress: Progress) -> Iterator[tuple[AnyDrawings, ParseReport]]:
        whole = labelled_bitmaps(self.path, self.options.label)
        self.size, self.xxh3 = self.path.stat().st_size, digest_of(self.path)
        for start in range(0, len(whole), SHARD_DRAWINGS):
            batch = whole[start : start + SHARD_DRAWINGS]
            yield batch, ParseReport(kept=len(batch))
        progress.update(self.size)

    def _add(self, batch: AnyDrawings, pool: ParserPool) -> None:
        """Keep a batch for the next shard, and begin to write each that is full."""
        while len(batch):
            room = SHARD_DRAWINGS - sum(map(len, self.pending))
            self.pending.append(batch[:room] if len(batch) > room else batch)
            batch = batch[room:]
            if sum(map(len, self.pending)) == SHARD_DRAWINGS:
                self._write(pool)

    def _write(self, pool: ParserPool) -> None:
        if not self.pending:
            return
        path = self.shards / f"{TEMPORARY}{os.getpid()}-shard-{len(self.paths):05d}"
        self.paths.append(path)
        self.writing.append(pool.submit(_write, path, self.pending, self.options))
        self.pending = []
        if len(self.writing) > pool.threads:
            self._note(self.writing.popleft().result())

    def _note(self, shard: _Shard) -> None:
        self.written.append(shard.about)
        for (name, side), (n, deltas) in shard.classes.items():
            by_split = self.classes.setdefault(name, dict.fromkeys(SPLITS, (0, DeltaStats())))
            by_split[side] = (by_split[side][0] + n, by_split[side][1] + deltas)

    def _commit(self, report: ParseReport) -> Record:
        key = _key(self.xxh3, self.label, self.options)
        stem = _stem(self.label, key)
        names = [f"{stem}-{i:05d}.safetensors" for i in range(len(self.written))]
        record = {
            "label": self.label,
            "size": self.size,
            "xxh3": self.xxh3,
            "key": key,
            "options": self.options.to_dict(),
            "shards": [{"file": name, **about} for name, about in zip(names, self.written, strict=True)],
            "lines": report.to_dict(),
            "classes": {
                name: {side: {"drawings": n, "deltas": d.to_dict()} for side, (n, d) in by_split.items()}
                for name, by_split in sorted(self.classes.items())
            },
        }
        for i, name in enumerate(names):
            self.paths[i] = self.paths[i].replace(self.shards / name)
        write_bytes(self.shards / f"{stem}.json", orjson.dumps(record, option=orjson.OPT_INDENT_2))
        return record


def _manifest(records: list[Record], options: Options, kind: Kind) -> dict[str, Any]:
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
        "kind": kind,
        "options": options.to_dict(),
        "drawings": sum(c[side]["drawings"] for c in classes.values() for side in SPLITS),
        "rejected": add_counts(*(r["lines"]["rejected"] for r in records)),
        "classes": classes,
        "sources": [{k: v for k, v in r.items() if k not in ("classes", "options")} for r in records],
    }


def _remove_others(shards: Path, records: list[Record]) -> None:
    """Remove the files of other sources and options."""
    mine = {s["file"] for r in records for s in r["shards"]}
    mine |= {f"{_stem(r['label'], r['key'])}.json" for r in records}
    for path in shards.iterdir():
        if path.name not in mine and _OURS.fullmatch(path.name):
            path.unlink()
