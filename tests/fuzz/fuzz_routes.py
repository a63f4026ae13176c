"""Atheris target: the scanner, at every SIMD level, against the orjson route. Same columns, same report.

Needs the extension built with ``-fsanitize=fuzzer-no-link`` for coverage of the C code; `make fuzz` does that.
"""

from __future__ import annotations

import os
import sys

import atheris

import qdfast
from qdfast import _simd
from qdfast._core import LEVELS, best_level
from qdfast.storage.forms import HEAD, REREAD, identify
from qdfast.storage.names import Recognized

NAMES = LEVELS[: best_level() + 1]


def one_input(data: bytes) -> None:
    if not data:
        return
    recognized: Recognized = "only" if data[0] & 0x80 else "any"
    raw = bool(data[0] & 0x40)
    data = data[1:]
    if identify(data[:HEAD]) in REREAD:
        return  # of another format, which fuzz_forms.py mutates
    judged = qdfast.parse_ndjson(data, recognized=recognized, threads=1, route="orjson", raw=raw)
    accepted = set()
    for name in NAMES:
        os.environ[_simd.VARIABLE] = name
        d = qdfast.parse_ndjson(data, recognized=recognized, threads=1, raw=raw)
        if not (d.equals(judged) and d.words == judged.words and d.report == judged.report):
            raise AssertionError(f"{name}: {d!r} {d.report} by the scanner, {judged!r} {judged.report} by orjson")
        assert d.report is not None
        accepted.add(d.report.via_orjson)
    if len(accepted) > 1:
        raise AssertionError(f"levels leave {accepted} lines to orjson")
    if (
        len(judged)
        and qdfast.parse_ndjson(qdfast.format_ndjson(judged), recognized="any", threads=1).words != judged.words
    ):
        raise AssertionError("what was written is not read back")


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
