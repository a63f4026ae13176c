"""The checksums that Google's storage states for its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np


def md5(path: Path) -> bytes:
    """The MD5 digest of a file, 16 bytes."""
    digest = hashlib.new("md5", usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


def crc32c(path: Path) -> int:
    """The CRC-32C of a file, the only checksum that Google's storage states for files that were uploaded in parts.

    The file is cut into lanes whose remainders advance in parallel, one byte at a time. To join
    the lanes, 32 more of them start with a single bit each and read only zeros: since the CRC is linear, they show how
    reading a whole lane changes any remainder.
    """
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    data = np.fromfile(path, np.uint8)
    lanes = 4096
    columns = data[: len(data) // lanes * lanes].reshape(lanes, -1)
    state = np.zeros(lanes + 32, np.uint32)
    state[0] = 0xFFFFFFFF
    state[lanes:] = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for j in range(columns.shape[1]):
        state[:lanes] ^= columns[:, j]
        state = table[state & 255] ^ (state >> 8)
    shift = state[lanes:].tolist()
    crc = 0
    for remainder in state[:lanes].tolist():
        moved = remainder
        for k in range(32):
            if crc >> k & 1:
                moved ^= shift[k]
        crc = moved
    for byte in data[columns.size :].tolist():
        crc = int(table[(crc ^ byte) & 255]) ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
