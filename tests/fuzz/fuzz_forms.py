"""Reads mutated files of each format that people have.

    python tests/fuzz/fuzz_forms.py SECONDS [FORM…]      SECONDS for each form

A file is read, refused by DataError or reported corrupt by OSError. Everything else is a finding: another exception, a
crash, a report that does not count the drawings, memory beyond LIMIT, or a callable that a pickle names. The input is
kept in build/fuzz/found, and the exit status is not 0. Members of archives are also mutated before they are packed:
checksums would find every other change.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import forms

import qdfast
from qdfast.quickdraw.doodles import write_doodles

LIMIT = 4 << 30  # bytes of address space
FOUND = Path("build/fuzz/found")
DRAWINGS = 25

Maker = Callable[[bytes, Callable[[bytes], bytes]], bytes]
"""Makes a file of lines. Its second argument mutates what a checksum would protect, or returns it as it is."""


def sketch_rnn(lines: bytes, mutate: Callable[[bytes], bytes]) -> bytes:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(forms.sketch_rnn(lines))) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    arrays["train.npy"] = mutate(arrays["train.npy"])
    return forms.zipped(arrays)


def bitmaps(lines: bytes, mutate: Callable[[bytes], bytes]) -> bytes:
    out = io.BytesIO()
    pixels = qdfast.parse_ndjson(lines, recognized="any").bitmaps()
    np.save(out, pixels.reshape(-1, 784))
    return mutate(out.getvalue())


FORMS: dict[str, dict[str, Maker]] = {
    "binary": {
        "cat.bin": lambda lines, mutate: forms.google_binary(lines),
        "cat.bin.gz": lambda lines, mutate: gzip.compress(mutate(forms.google_binary(lines)), 1),
    },
    "csv": {
        "cat.csv": lambda lines, mutate: forms.kaggle(lines),
        "cat.tsv": lambda lines, mutate: forms.kaggle(lines, "drawing,word,timestamp,key_id", delimiter="\t"),
        "cat.utf16.csv": lambda lines, mutate: forms.kaggle(lines).decode().encode("utf-16"),
    },
    "sketch_rnn": {"cat.npz": sketch_rnn},
    "json": {
        "cat.json": lambda lines, mutate: forms.json_array(lines),
        "cat.pretty.json": lambda lines, mutate: forms.json_array(lines, indent=1),
        "cat.objects.json": lambda lines, mutate: b"\n".join(
            json.dumps(fields, indent=1).encode() for fields in forms.fields_of(lines)
        ),
    },
    "zip": {
        "two.zip": lambda lines, mutate: forms.zipped({"a/cat.ndjson": mutate(lines), "dog.csv": forms.kaggle(lines)})
    },
    "tar": {
        "two.tar": lambda lines, mutate: forms.tarred({"cat.ndjson": lines, "dog.bin": forms.google_binary(lines)}),
        "two.tgz": lambda lines, mutate: gzip.compress(mutate(forms.tarred({"cat.ndjson": lines})), 1),
    },
    "bitmaps": {
        "cat.npy": bitmaps,
        "cat.npy.gz": lambda lines, mutate: gzip.compress(bitmaps(lines, mutate), 1),
        "cat.arrays.npz": lambda lines, mutate: forms.zipped({"cat.npy": bitmaps(lines, mutate)}),
    },
}
_NAMES = ((b"numpy", b"posix"), (b"_reconstruct", b"system"), (b"ndarray", b"fork"), (b"dtype", b"_exit"))


def no_pickled_callable(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("pickle.find_class", "os.system", "os.fork", "subprocess.Popen", "os.exec"):
        raise AssertionError(f"{event} {arguments}")


def fuzz(form: str, seconds: float, lines: bytes, directory: Path, rng: random.Random) -> int:
    """The number of files that were read."""

    def mutate(data: bytes) -> bytes:
        if form == "sketch_rnn" and rng.random() < 0.1:
            data = data.replace(*rng.choice(_NAMES), 1)
        return forms.mutated(data, rng)

    end, done = time.monotonic() + seconds, 0
    plain = {name: make(lines, bytes) for name, make in FORMS[form].items()}
    while time.monotonic() < end:
        name, make = rng.choice(list(FORMS[form].items()))
        inside = rng.random() < 0.5 and make(lines, mutate)
        data = inside if inside and inside != plain[name] else forms.mutated(plain[name], rng)
        path = forms.write(directory, name, data)
        try:
            found = qdfast.read(path, recognized="any", threads=1)
            assert len(found) <= 4 * DRAWINGS + 100, f"{len(found)} drawings"
            assert found.report is None or found.report.kept == len(found), f"{len(found)} {found.report}"
        except (qdfast.DataError, OSError):
            pass
        except BaseException:
            FOUND.mkdir(parents=True, exist_ok=True)
            (FOUND / f"{done}-{name}").write_bytes(data)
            raise
        done += 1
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", type=float)
    parser.add_argument("forms", nargs="*", choices=[*FORMS, []])
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    logging.getLogger("qdfast").setLevel(logging.ERROR)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    sys.addaudithook(no_pickled_callable)
    with tempfile.TemporaryDirectory() as directory:
        [star] = write_doodles(Path(directory) / "doodles", classes=["star"], per_class=DRAWINGS, seed=1)
        lines = star.read_bytes()
        for form in a.forms or FORMS:
            done = fuzz(form, a.seconds, lines, Path(directory) / form, random.Random(f"{a.seed} {form}"))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            print(f"{form}: {done:,} files, at most {memory:,} MiB of memory", flush=True)


if __name__ == "__main__":
    main()
