"""Turns what qdfast writes today into what it wrote before it recorded digests."""

from __future__ import annotations

from pathlib import Path

import orjson

from qdfast.storage.names import MANIFEST, SHARDS


def _rewrite(path: Path, *keys: str) -> None:
    """Write an object of JSON again without its digest, and without these keys."""
    value = orjson.loads(path.read_bytes())
    path.write_bytes(
        orjson.dumps({k: v for k, v in value.items() if k not in ("digest", *keys)}, option=orjson.OPT_INDENT_2)
    )


def run_without_digests(path: Path) -> None:
    """Of a run directory."""
    _rewrite(path / "run.json")
    if (path / "history.json").exists():
        _rewrite(path / "history.json", "digests")


def prepared_without_digests(path: Path) -> None:
    """Of a prepared directory."""
    for file in (path / MANIFEST, *(path / SHARDS).glob("*.json")):
        value = orjson.loads(file.read_bytes())
        del value["digest"]
        for source in value.get("sources", [value]):
            for shard in source["shards"]:
                del shard["xxh3"]
        file.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
