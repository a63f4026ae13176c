"""Reads lines by both routes, at every SIMD level, and compares everything."""

from __future__ import annotations

import io
import random

import pytest
from reports import report_of

import qdfast
from qdfast import _simd
from qdfast._core import LEVELS, best_level

LINE = (
    b'{"word":"cat","countrycode":"VE","timestamp":"2017-03-02 23:25:10.07453 UTC","recognized":true,'
    b'"key_id":"5201136883597312","drawing":[[[130,113,99],[72,40,0]],[[76,255],[136,7]]]}\n'
)
LEVELS_HERE = LEVELS[: best_level() + 1]


class Named(io.BytesIO):
    """An open file that is called what bytes are called in reports."""

    name = "<bytes>"


def both_routes(data: bytes, raw: bool = False) -> qdfast.Drawings:
    """Parse by both routes, at every SIMD level, with both filters; everything must be the same.

    Returns the one that keeps all.
    """
    for recognized in ("only", "any"):
        judged = qdfast.parse_ndjson(data, recognized=recognized, threads=1, route="orjson", raw=raw)
        assert report_of(judged).via_orjson == report_of(judged).lines - report_of(judged).rejected.get("too_long", 0)
        one_block = qdfast.read_ndjson(Named(data), recognized=recognized, threads=1, raw=raw)
        scanned = []
        for level in LEVELS_HERE:
            with pytest.MonkeyPatch.context() as m:
                m.setenv(_simd.VARIABLE, level)
                scanned.append(qdfast.parse_ndjson(data, recognized=recognized, threads=1, raw=raw))
        for d in (*scanned, one_block):
            assert d.report == judged.report
            assert d.words == judged.words
            assert d.equals(judged)
            assert report_of(d).kept == len(d)
            assert report_of(d).via_orjson == report_of(scanned[0]).via_orjson
    return scanned[0]


TOKENS = [b"[", b"]", b",", b"{", b"}", b'"', b":", b"\\", b"\n", b"\r", b" ", b"\x00", b"\xc3\xa9", b"\xff", b"0", b"00",
          b"255", b"256", b"1e1", b"-1", b"1.5", b"null", b"true", b"[]", b"[[],[]]", b",[[1],[2]]", b'"word":"x",',
          b'"drawing":[[[1,2],[3,4]]],', b"\xef\xbb\xbf", b"UTC", b"99999999999999999999"]  # fmt: skip


def mutate(line: bytes, rng: random.Random) -> bytes:
    """A line with one to three small accidents."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, to = sorted((rng.randrange(len(line) + 1), rng.randrange(len(line) + 1)))
        match rng.randrange(6):
            case 0:
                line = line[:at] + rng.choice(TOKENS) + line[at:]
            case 1:
                line = line[:at] + rng.choice(TOKENS) + line[at + 1 :]
            case 2:
                line = line[:at] + line[at + rng.randrange(4) :]
            case 3:
                line = line[:at]
            case 4:
                line = line[:at] + line[to : to + 12] + line[at:]
            case 5:
                line = line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
    return line


def check_mutations(lines: list[bytes], seed: int, raw: bool = False) -> None:
    rng = random.Random(seed)
    data = b"\n".join(mutate(line, rng) for line in lines)
    d = both_routes(data, raw)
    assert 0.1 < report_of(d).kept / report_of(d).lines < 0.9  # the accidents are neither harmless nor all fatal
