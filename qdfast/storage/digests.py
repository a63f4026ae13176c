"""Digests of files, chunk by chunk: they tell whether a file is still the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from ..errors import DataError

CHUNK = 32 << 20  # bytes of a source that are read and prepared independently: they make a shard of about 8 MB


def chunk_numbers(size: int) -> range:
    """The numbers of the chunks of a file of ``size`` bytes. An empty file has one chunk."""
    return range(max(1, -(-size // CHUNK)))


class Digest:
    """XXH3 (128 bits) of each chunk of a file's bytes. SHA-256 takes longer than all of parsing."""

    def __init__(self) -> None:
        self._hashes: list[Any] = []
        self._size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            if self._size % CHUNK == 0:
                self._hashes.append(xxhash.xxh3_128())
            part = view[: CHUNK - self._size % CHUNK]
            self._hashes[-1].update(part)
            self._size += len(part)
            view = view[len(part) :]

    @property
    def chunks(self) -> dict[int, bytes]:
        """The digest (16 bytes) of each chunk, by its number."""
        return {number: digest.digest() for number, digest in enumerate(self._hashes)}


def join_digests(chunks: Mapping[int, bytes]) -> str:
    """The digest (hex) of a file from those of its chunks: that of a single chunk, else the digest of all of them."""
    in_order = [chunks[number] for number in sorted(chunks)]
    return in_order[0].hex() if len(in_order) == 1 else xxhash.xxh3_128_hexdigest(b"".join(in_order))


def file_xxh3(path: Path) -> str:
    """XXH3 (128 bits, hex) of all bytes of a file. It is read, not mapped: another process may cut it meanwhile."""
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_file(path: Path, recorded: str, remedy: str) -> None:
    """Compare a file with the digest of it that was recorded.

    Args:
        recorded: the result of ``file_xxh3`` when it was written.
        remedy: what to do about a difference, for the message.

    Raises:
        DataError: it has other bytes.
        OSError: it cannot be read.
    """
    if (found := file_xxh3(path)) != recorded:
        raise DataError(f"{path}: damaged: its digest is {found}, not {recorded} as when it was written: {remedy}")
