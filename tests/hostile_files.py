"""Damaged prepared data: shards with bits flipped, cut short, with wrong counts, and manifests that do not fit."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import orjson
from hostile_control import mutate
from outcomes import Outcomes

import qdfast
from qdfast.dataset.prepare import prepare
from qdfast.errors import DataError


def _source(directory: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        lines = []
        for number in range(40):
            strokes = [rng.integers(0, 256, (2, n)).tolist() for n in rng.integers(2, 9, rng.integers(1, 5))]
            lines.append(
                orjson.dumps({"key_id": str(number + 1), "recognized": True, "word": name, "drawing": strokes})
            )
        (directory / f"{name}.ndjson").write_bytes(b"\n".join(lines))
    return directory


def shards(count: int, seed: int = 0) -> Outcomes:
    """Damage a file of prepared data, open it and use all of it; with and without ``verify``.

    With ``verify``, what opens must be as it was. Without, it must be usable: other values may pass.
    """
    rng, outcomes = random.Random(seed), Outcomes("shards")
    with tempfile.TemporaryDirectory() as tmp:
        (source := Path(tmp, "source")).mkdir()
        whole = prepare(_source(source), Path(tmp, "whole"), validation=0.3)
        right = _used(whole)
        files = [path.relative_to(whole.path) for path in (*whole.shard_paths, whole.path / "manifest.json")]
        copy = Path(tmp, "copy")
        while outcomes.total < count:
            shutil.copytree(whole.path, copy, dirs_exist_ok=True)
            name = rng.choice(files)
            before = (copy / name).read_bytes()
            damaged = _damage(rng, before)
            (copy / name).write_bytes(damaged)
            verify = rng.random() < 0.5
            try:
                data = qdfast.open_prepared(copy, verify=verify)
                if verify:
                    data.verify()
                used = _used(data)
            except (DataError, OSError) as e:
                known = str(e).isprintable() and (str(copy) in str(e) or isinstance(e, OSError))
                outcome = ("DataError" if isinstance(e, DataError) else "OSError") if known else f"no file named: {e}"
            except Exception as e:
                outcome = f"{type(e).__name__}: {e}"
            else:
                same = used == right
                outcome = (
                    "as before" if same else "other values with verify" if verify else "other values, not verified"
                )
            outcomes.add(
                outcome, {"as before", "DataError", "OSError", "other values, not verified"}, (str(name), verify)
            )
    return outcomes


def _used(data: qdfast.Prepared) -> list[object]:
    rows = data.rows("all")
    every = np.arange(len(rows))
    deltas, lengths = rows.deltas(every, 50)
    drawings = rows.drawings(slice(None))
    return [
        deltas.tobytes(),
        lengths.tobytes(),
        drawings.bitmaps().tobytes(),
        drawings.hashes().tobytes(),
        data.classes,
    ]


def _damage(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    match rng.randint(0, 6):
        case 0 | 1 | 2:
            for _ in range(rng.choice((1, 1, 1, 2, 9))):
                out[rng.randrange(len(out))] ^= 1 << rng.randint(0, 7)
        case 3:
            del out[rng.randrange(len(out)) :]
        case 4:  # a count, a size or an offset of the header or the manifest
            digits = [i for i, byte in enumerate(out[:4000]) if 48 <= byte <= 57]
            for i in rng.sample(digits, min(len(digits), rng.randint(1, 3))):
                out[i] = rng.randint(48, 57)
        case 5:
            out += rng.randbytes(rng.randint(1, 50))
        case _:
            out = bytearray(mutate(rng, bytes(out)))
    return bytes(out)
