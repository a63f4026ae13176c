"""What `evaluate` and `predict` read."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import load_rows
from qdfast.errors import DataError
from qdfast.storage.names import Split


@pytest.mark.parametrize("split", ["train", "validation"])
def test_only_prepared_directories_have_splits(split: Split, doodles: Path, bitmap_files: Path, tmp_path: Path) -> None:
    data = prepare(doodles / "star.ndjson", tmp_path / "data", recognized="any", validation=0.5)
    held = load_rows([data.path], split=split)
    assert 0 < len(held) < 120
    for file in (doodles / "star.ndjson", bitmap_files / "star.npy"):
        with pytest.raises(DataError, match=f"{file.name}: not a prepared directory, so it has no {split} split"):
            load_rows([data.path, file], recognized="any", split=split)
        for whole in ("auto", "all"):
            assert len(load_rows([file], recognized="any", split=whole)) == 120
