"""The pieces of a source, each read by itself, are what the whole source is."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from reports import report_of

import qdfast
from qdfast._core import LEVELS, best_level
from qdfast.bitmaps import concat_any
from qdfast.dataset.shard_writer import Piece, PrepareOptions, SourceSummary, strokes_of, write_shards
from qdfast.dataset.shards import read_shard
from qdfast.ndjson import blocks
from qdfast.ndjson.blocks import FileBlocks
from qdfast.ndjson.parser import ParserPool
from qdfast.storage import digests
from qdfast.storage.digests import chunk_numbers, join_digests
from qdfast.storage.files import Directory
from qdfast.storage.source_files import SourceFile

CHUNK, BLOCK, MAX_LINE = 200, 64, 900  # bytes: so that a few lines are pieces, blocks and lines that are too long

LINES = [
    b'{"word":"cat","recognized":true,"drawing":[[[1,2],[3,4]]]}',
    b'{"drawing":[[[1,2,3],[3,4,5]],[[9],[9]]],"recognized":true,"word":"dog"}\r',
    b'{"word":"owl","recognized":false,"drawing":[[[1,2],[3,4]]]}',
    b'{"word":"bee","recognized":true,"drawing":[]}',
    b"\xef\xbb\xbf{}",
    b"\x1f\x8b",
    b"",
    b" \t",
    b"x" * CHUNK,
    b'{"drawing":[[[' + b"7," * 150 + b"7],[" + b"8," * 150 + b'8]]],"recognized":true}',
    b"y" * (MAX_LINE + 1),
]


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "CHUNK", CHUNK)
        patch.setattr(blocks, "MAX_LINE", MAX_LINE)
        yield


def written(source: FileBlocks, out: Path, options: PrepareOptions) -> SourceSummary:
    with ParserPool(1) as pool:
        part = write_shards(strokes_of(source, "none", options, pool), Directory(out), pool)
    return part + SourceSummary(digests=source.digests)


def shards(part: SourceSummary, out: Path) -> dict[int, bytes]:
    return {chunk.number: (out / chunk.shard).read_bytes() for chunk in part.chunks if chunk.shard}


@given(st.lists(st.sampled_from(LINES), max_size=30), st.sampled_from([b"\n", b""]), st.randoms())
def test_pieces_add_up_to_the_whole(
    small: object, tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], end: bytes, random: Random
) -> None:
    data = b"\n".join(lines) + end
    if data.startswith(b"\x1f\x8b"):  # the name says nothing, the first bytes would say gzip
        data = b"\n" + data
    out, options = tmp_path_factory.mktemp("out"), PrepareOptions(label="word")
    whole = written(FileBlocks(io.BytesIO(data), digest=True, block=3 * BLOCK), out, options)
    each = [
        written(FileBlocks(io.BytesIO(data), digest=True, chunk=chunk, block=BLOCK), out, options)
        for chunk in chunk_numbers(len(data))
    ]
    random.shuffle(each)
    joined = sum(each, SourceSummary())
    assert shards(joined, out) == shards(whole, out)
    assert (joined.report, joined.report.examples) == (whole.report, whole.report.examples)
    assert (joined.classes, joined.xxh3) == (whole.classes, whole.xxh3)
    read = qdfast.parse_ndjson(data)
    assert joined.report.lines == report_of(read).lines
    found = [read_shard(out / chunk.shard)[0] for chunk in joined.in_order() if chunk.shard]
    named = read[np.array([word != "" for word in read.word], bool)]
    joint = concat_any(found)
    assert isinstance(joint, qdfast.Drawings)
    assert joint.equals(named)
    assert sum((stats for of in joined.classes.values() for _, stats in of.values()), qdfast.DeltaStats()) == (
        named.delta_stats()
    )
    zipped = written(FileBlocks(io.BytesIO(gzip.compress(data)), digest=True, block=5 * BLOCK), out, options)
    assert shards(zipped, out) == shards(whole, out)
    assert zipped.report == whole.report


def test_a_chunk_is_written_before_the_next_is_read(small: object, tmp_path: Path) -> None:
    """So that memory is needed for one only."""
    data = b"".join(line + b"\n" for line in LINES[:2] * 20)
    files: list[int] = []

    def watched(pool: ParserPool) -> Iterator[Piece]:
        for piece in strokes_of(FileBlocks(io.BytesIO(data), block=BLOCK), "cat", PrepareOptions(), pool):
            files.append(len(list(tmp_path.iterdir())) - piece.chunk)
            yield piece

    with ParserPool(1) as pool:
        write_shards(watched(pool), Directory(tmp_path), pool)
    assert len(files) > 20
    assert set(files) == {0}


@pytest.mark.parametrize("level", LEVELS[: best_level() + 1])
def test_memory_of_another_level_is_not_used(
    small: object, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"".join(line + b"\n" for line in LINES[:2] * 20)
    used = []
    for name in (LEVELS[0], level):
        monkeypatch.setenv("QDFAST_SIMD", name)
        with ParserPool(1) as pool:
            pieces = list(strokes_of(FileBlocks(io.BytesIO(data)), "cat", PrepareOptions(), pool))
            write_shards(pieces, Directory(tmp_path), pool)
        used = [LEVELS[piece.columns.level] for piece in pieces if piece.columns]
    assert len(used) > 1
    assert set(used) == {level}


def test_the_digest_of_a_file(small: object, tmp_path: Path) -> None:
    seen = set()
    for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7):
        (tmp_path / "file").write_bytes(b"z" * size)
        source = FileBlocks(tmp_path / "file", digest=True)
        list(source)
        assert source.digests == SourceFile.of(tmp_path / "file").digests()
        assert len(source.digests) == len(chunk_numbers(size)) - (size == 0)
        assert join_digests(source.digests) == SourceFile.of(tmp_path / "file").digest()
        assert (SourceFile.of(tmp_path / "file").digest() == xxhash.xxh3_128_hexdigest(b"z" * size)) is (size <= CHUNK)
        seen.add(SourceFile.of(tmp_path / "file").digest())
    assert len(seen) == 7
