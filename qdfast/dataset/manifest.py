"""The records of sources and the manifest of a prepared directory.

A source gets a record when its shards are complete. The names of its files contain a key, made of its digest and all
else that they depend on. So a run that was killed continues where it stopped, only sources that changed are prepared
again, and the old manifest stays valid until the new one replaces it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import reduce
from itertools import groupby
from typing import Any

import orjson

from ..errors import DataError
from ..parse_report import ParseReport, add_counts, check_rejects, explain
from ..stats import DeltaStats
from ..storage import sealed_json
from ..storage.class_names import is_copy
from ..storage.digests import CHUNK
from ..storage.files import Directory
from ..storage.names import MANIFEST, Kind
from ..storage.progress import counted
from .shard_writer import BITMAPS_PER_CHUNK, Classes, PrepareOptions, Record, SourceSummary, add_classes
from .shards import FORMAT, parse_shard

_OURS = re.compile(r".*-[0-9a-f]{16}(-\d{5,})?\.(json|safetensors)", re.DOTALL)


def source_key(xxh3: str, label: str, options: PrepareOptions) -> str:
    """16 hex digits made of the bytes of a source, the class that its name stands for, and the options."""
    of_file = label if options.label == "file" else ""
    made_of = [FORMAT, CHUNK, BITMAPS_PER_CHUNK, xxh3, of_file, options.to_dict()]
    return hashlib.sha256(orjson.dumps(made_of, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _stem(label: str, key: str) -> str:
    """The start of the names of a source's files."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", label)[:80] + "-" + key


def read_records(shards: Directory, max_rejects: float = 1) -> list[Record]:
    """The records of sources that earlier runs finished.

    Damaged records, and those of shards cut by a power failure, are left out. So are sources with more than this share
    of unreadable lines: they are read again, to say which lines.
    """
    records = []
    sizes = shards.sizes()
    for name in sizes:
        if _OURS.fullmatch(name) and name.endswith(".json"):
            with suppress(ValueError, KeyError, TypeError, FileNotFoundError):
                record = sealed_json.load(shards.read(name))
                report = ParseReport(record["lines"]["kept"], record["lines"]["rejected"])
                whole = all(sizes[s["file"]] == s["bytes"] for s in record["shards"])
                if whole and not report.has_more_rejects(max_rejects):
                    records.append(record)
    return records


def candidates(records: Iterable[Record], size: int, options: PrepareOptions) -> list[Record]:
    """The records with this size and these options. Whether one belongs to a source is told by its key."""
    return [r for r in records if r["size"] == size and r["options"] == options.to_dict()]


def is_intact(record: Record, shards: Directory) -> bool:
    """Whether the shards of a source are as they were written; without digests, as far as shards can tell."""
    for entry in record["shards"]:
        name = entry["file"]
        try:
            if "xxh3" not in entry:
                parse_shard(shards.read(name), name, entry)
            elif shards.xxh3(name) != entry["xxh3"]:
                return False
        except DataError:
            return False
    return True


def commit_source(
    summary: SourceSummary,
    source: str,
    size: int,
    label: str,
    options: PrepareOptions,
    shards: Directory,
    max_rejects: float,
) -> Record:
    """Rename the shards of a complete source to their final names, and write its record.

    Safe to repeat after a failure at any point.

    Args:
        summary: all chunks of the source.
        source: its name, for messages.
        size: its bytes.
        label: the class that its name stands for.
        max_rejects: as for ``prepare``.

    Returns:
        The record.

    Raises:
        DataError: the source has no drawings, or too many unreadable lines. No shard is left.
    """
    report = summary.report
    chunks = [chunk for chunk in summary.in_order() if chunk.shard]
    if not report.kept:
        raise DataError(f"{source}: no drawings: {explain(report)}")
    try:
        check_rejects(report, source, max_rejects)
    except DataError:
        shards.remove(chunk.shard for chunk in chunks)
        raise
    key = source_key(summary.xxh3, label, options)
    stem = _stem(label, key)
    names = [f"{stem}-{chunk.number:05d}.safetensors" for chunk in chunks]
    record = {
        "label": label,
        "size": size,
        "xxh3": summary.xxh3,
        "key": key,
        "options": options.to_dict(),
        "shards": [{"file": name, **chunk.shard_info} for name, chunk in zip(names, chunks, strict=True)],
        "lines": report.to_dict(),
        "classes": _classes_to_dict(summary.classes),
    }
    for name, chunk in zip(names, chunks, strict=True):
        try:
            shards.rename(chunk.shard, name)
        except OSError:
            if shards.sizes().get(name) != chunk.shard_info["bytes"]:
                raise
    shards.write(f"{stem}.json", sealed_json.dump(record))
    return record


def _classes_to_dict(classes: Classes) -> dict[str, Any]:
    return {
        name: {side: {"drawings": n, "deltas": deltas.to_dict()} for side, (n, deltas) in sides.items()}
        for name, sides in sorted(classes.items())
    }


def _classes_from_dict(classes: dict[str, Any]) -> Classes:
    return {
        name: {side: (of["drawings"], DeltaStats.from_dict(of["deltas"])) for side, of in sides.items()}
        for name, sides in classes.items()
    }


def write_manifest(
    out: Directory,
    shards: Directory,
    records: Iterable[Record],
    options: PrepareOptions,
    kind: Kind,
    log: Callable[[str], None],
) -> Record:
    """Write the manifest of ``records`` and remove the files of all other sources and options.

    Returns:
        The manifest. The log warns about classes that no classifier can tell apart.
    """
    records = list(records)
    classes: Classes = reduce(add_classes, (_classes_from_dict(r["classes"]) for r in records))
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "options": options.to_dict(),
        "drawings": sum(n for sides in classes.values() for n, _ in sides.values()),
        "rejected": add_counts(*(r["lines"]["rejected"] for r in records)),
        "classes": _classes_to_dict(classes),
        "sources": [{k: v for k, v in r.items() if k not in ("classes", "options")} for r in records],
    }
    out.write(MANIFEST, sealed_json.dump(manifest))
    mine = {s["file"] for r in records for s in r["shards"]}
    mine |= {f"{_stem(r['label'], r['key'])}.json" for r in records}
    shards.remove(name for name in shards.sizes() if name not in mine and _OURS.fullmatch(name))
    for warning in _warnings(classes):
        log(f"warning: {warning}")
    return manifest


def _warnings(classes: Iterable[str]) -> Iterator[str]:
    names = sorted(classes)
    if len(names) == 1:
        yield f"all drawings are of one class, {names[0]}: a classifier needs at least two"
    for _, alike in groupby(sorted(names, key=str.casefold), str.casefold):
        if len(same := list(alike)) > 1:
            yield f"the classes {' and '.join(same)} differ only in case: are they one?"


def add_record(records: dict[str, Record], source: str, record: Record, said: str, log: Callable[[str], None]) -> None:
    """Add the record of a source to ``records``, by key, unless there is an equal one.

    Logs the source, its classes and ``said``, and warns about a source with the same bytes but another class.
    """
    key = record["key"]
    if key in records:
        log(f"{source}: left out: duplicate of {records[key]['source']}")
        return
    for other in records.values():
        if other["xxh3"] == record["xxh3"]:
            log(
                f"{source}: warning: the same bytes as {other['source']}: the classes {record['label']} and "
                f"{other['label']} have the same drawings"
            )
            break
    records[key] = {"source": source, **record}
    log(f"{source}: {_classes_of(source, record)}: {said}")


def _classes_of(source: str, record: Record) -> str:
    names = list(record["classes"])
    if record["options"]["label"] == "file":
        return f"class {record['label']}" + " (the file's name is that of a copy)" * is_copy(source)
    some = ", ".join([*names[:3], *["…"] * (len(names) > 3)])
    return f"class {names[0]}" if len(names) == 1 else f"{counted(len(names), 'class')} ({some})"


def describe_damaged(source: str) -> str:
    """The log message for a source whose shards are no longer as they were written."""
    return f"{source}: a shard of it is damaged: prepared again"


def describe_unchanged(record: Record) -> str:
    """The log message for a source that an earlier run prepared."""
    return f"{record['lines']['kept']:,} drawings, as prepared before"
