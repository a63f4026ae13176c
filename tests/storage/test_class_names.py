"""The class that a file name stands for."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from qdfast.storage.class_names import is_copy, label_of
from qdfast.storage.source_files import SourceFile

NAMES = {
    "cat": (
        *("cat.ndjson", "cat.ndjson.gz", "cat.npy", "cat.json.bz2", "cat.jsonl.gz", "cat.JSONL.xz", "cat.csv.zst", "cat"),
        *("full_simplified_cat.ndjson", "full_numpy_bitmap_cat.npy", "full_binary_cat.bin", "full_raw_cat", "full_raw_cat.ndjson.gz"),
        *("full%2Fsimplified%2Fcat.ndjson", "full%252Fsimplified%252Fcat.ndjson", "full%2fraw%2fcat.ndjson"),
        *("quickdraw_dataset_full_simplified_cat.ndjson", "gs://quickdraw_dataset/full/simplified/cat.ndjson"),
        *("sketchrnn_cat.npz", "sketchrnn_cat.full.npz", "cat.full.npz", "dir.ndjson/cat.ndjson", "cat.ndjson.txt"),
        *(" cat.ndjson", "cat .ndjson", "cat%20.ndjson", "cat.ndjson ", "cat.ndjson?alt=media&x=1.2", "cat.txt", "cat.dat"),
    ),
    "The Eiffel Tower": ("The%20Eiffel%20Tower.ndjson", "full_simplified_The Eiffel Tower.ndjson", "full%2Fsimplified%2FThe%20Eiffel%20Tower.ndjson"),
    "CAT": ("CAT.NDJSON.GZ", "CAT.Ndjson"),  # the case of a class is its own
    "t-shirt": ("t-shirt.ndjson", "full_simplified_t-shirt.ndjson"),
    "The Mona Lisa": ("The Mona Lisa.ndjson", "The Mona Lisa"),
    "st. bernard": ("st. bernard.ndjson", "st. bernard"),
    "R2.D2": ("R2.D2.ndjson",),
    "v1.5": ("v1.5.ndjson", "v1.5"),
    "cat.v2": ("cat.v2.ndjson",),  # as it always was
    "3d": ("3d.ndjson", "full_simplified_3d.npy"),
    "cat (1999)": ("cat (1999).ndjson",),
    "ice_cream": ("ice_cream.ndjson",),
    "100%": ("100%.ndjson", "100%25.ndjson"),
    "camouflage": ("camouflage.ndjson",),
    "full": ("full.ndjson", "full.npz"),
    "x%ff": ("x%ff.ndjson",),  # not UTF-8: not percent-encoding
    "full_simplified_": ("full_simplified_.ndjson",),
}  # fmt: skip

COPIES = (
    *("cat (1).ndjson", "cat(2).ndjson", "cat (12).ndjson.gz", "cat.ndjson (1).gz", "cat.ndjson.1", "full_simplified_cat (1).ndjson"),
    *("cat - Copy.ndjson", "cat - Copy (2).ndjson", "cat copy.ndjson", "cat copy 2.ndjson", "cat (copy).ndjson"),
    *("cat (another copy).ndjson", "cat (3rd copy).ndjson", "Copy of cat.ndjson", "cat (1)", "cat%20(1).ndjson"),
    *("full_numpy_bitmap_cat (1).npy", "sketchrnn_cat.full (1).npz", "CAT (1).NDJSON"),
)  # fmt: skip


@pytest.mark.parametrize(("label", "name"), [(label, name) for label, names in NAMES.items() for name in names])
def test_what_a_name_stands_for(label: str, name: str) -> None:
    assert label_of(name) == label
    assert label_of(Path("some/where", name)) == label
    assert SourceFile.of(name).label == label
    assert not is_copy(name)


@pytest.mark.parametrize("name", COPIES)
def test_copies(name: str) -> None:
    assert label_of(name).lower() == "cat"
    assert is_copy(name)


def test_unicode_is_normalized() -> None:
    for form in ("NFC", "NFD"):
        assert label_of(unicodedata.normalize(form, "café.ndjson")) == "caf\u00e9"


@pytest.mark.parametrize("name", [".ndjson", "(1).ndjson", ".npz", "%20.ndjson", "- copy.ndjson"])
def test_a_class_is_never_empty(name: str) -> None:
    assert label_of(name)
