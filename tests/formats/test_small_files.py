"""What reading a small file costs beyond its parsing: its bytes are looked at once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import forms
import pytest

import qdfast
from qdfast.cli.info import describe
from qdfast.formats import sketch_rnn


class Counted(io.BytesIO):
    """An open file that counts its reads."""

    reads = 0

    def readinto(self, buffer: Any) -> int:
        self.reads += 1
        return super().readinto(buffer)


def test_a_file_is_read_once_and_to_its_end(doodles: Path) -> None:
    file = Counted((doodles / "star.ndjson").read_bytes()[:10_000])
    assert len(qdfast.read_ndjson(file, recognized="any"))
    assert file.reads == 2  # the bytes, and the end
    file = Counted((doodles / "star.ndjson").read_bytes())
    assert len(qdfast.read_ndjson(file, recognized="any")) == 120
    assert file.reads <= 4


def test_info_unpickles_a_file_of_sketch_rnn_once(
    doodles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays: list[int] = []
    read = sketch_rnn._array

    def seen(data: bytes) -> Any:
        arrays.append(len(data))
        return read(data)

    monkeypatch.setattr(sketch_rnn, "_array", seen)
    data = forms.sketch_rnn((doodles / "star.ndjson").read_bytes())
    for name, content in (("cat.npz", data), ("cat.zip", forms.zipped({"cat.npz": data}))):
        arrays.clear()
        assert "cat.npz: sketch-rnn's own split: train 110, valid 5, test 5" in describe(
            forms.write(tmp_path, name, content)
        )
        assert len(arrays) == 3
