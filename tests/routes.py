"""Parses ndjson by both routes and compares them."""

from __future__ import annotations

import io

import pytest

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


def both_routes(data: bytes) -> qdfast.Drawings:
    """Parse by both routes, at every SIMD level, with both filters; everything must be the same.

    Returns the one that keeps all.
    """
    for recognized in ("only", "any"):
        judged = qdfast.parse_ndjson(data, recognized=recognized, threads=1, route="orjson")
        assert judged.report is not None
        assert judged.report.via_orjson == judged.report.lines - judged.report.rejected.get("too_long", 0)
        one_block = qdfast.read_ndjson(Named(data), recognized=recognized, threads=1)
        scanned = []
        for level in LEVELS_HERE:
            with pytest.MonkeyPatch.context() as m:
                m.setenv(_simd.VARIABLE, level)
                scanned.append(qdfast.parse_ndjson(data, recognized=recognized, threads=1))
        for d in (*scanned, one_block):
            assert d.report is not None
            assert scanned[0].report is not None
            assert d.report == judged.report
            assert d.words == judged.words
            assert d.equals(judged)
            assert d.report.kept == len(d)
            assert d.report.via_orjson == scanned[0].report.via_orjson
    return scanned[0]
