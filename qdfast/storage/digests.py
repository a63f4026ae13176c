"""The pieces of a file, and what tells whether they are still the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

PIECE = 32 << 20  # bytes of a source that are read and prepared without regard to the others: a shard of 8 MB or so


def pieces(size: int) -> range:
    """The numbers of the pieces of a file of ``size`` bytes; there is a first one always."""
    return range(max(1, -(-size // PIECE)))


class Digest:
    """XXH3 (128 bits) of each piece of a file's bytes. SHA-256 takes longer than all of parsing."""

    def __init__(self) -> None:
        self._of: list[Any] = []
        self._size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            if self._size % PIECE == 0:
                self._of.append(xxhash.xxh3_128())
            part = view[: PIECE - self._size % PIECE]
            self._of[-1].update(part)
            self._size += len(part)
            view = view[len(part) :]

    @property
    def pieces(self) -> dict[int, bytes]:
        """16 bytes a piece."""
        return {number: digest.digest() for number, digest in enumerate(self._of)}


def join_digests(pieces: Mapping[int, bytes]) -> str:
    """The digest (hex) of a file: that of its only piece, else of all their digests, which can be had side by side."""
    in_order = [pieces[number] for number in sorted(pieces)]
    return in_order[0].hex() if len(in_order) == 1 else xxhash.xxh3_128_hexdigest(b"".join(in_order))


def digests_of(path: Path) -> dict[int, bytes]:
    """The digest of each piece of a file."""
    digest = Digest()
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.pieces


def digest_of(path: Path) -> str:
    """``join_digests`` of a file: tells whether it is still the same."""
    return join_digests(digests_of(path))
