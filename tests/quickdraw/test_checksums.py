from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from qdfast.quickdraw import checksums

DATA = np.random.default_rng(0).bytes(20_000)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097, 8192, 20_000])
def test_crc32c_agrees_bit_by_bit(tmp_path: Path, n: int) -> None:
    (tmp_path / "file").write_bytes(DATA[:n])
    assert checksums.crc32c(tmp_path / "file") == crc32c(DATA[:n])


@pytest.mark.parametrize(
    ("data", "crc"), [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)]
)
def test_crc32c_of_the_published_examples(tmp_path: Path, data: bytes, crc: int) -> None:
    (tmp_path / "file").write_bytes(data)
    assert checksums.crc32c(tmp_path / "file") == crc


def test_md5(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    assert checksums.md5(tmp_path / "file") == hashlib.md5(DATA).digest()
