"""The file that lists the models, by TensorFlow Serving's rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from paths import ROOT

from qdfast.errors import DataError

pytest.importorskip("tensorflow_serving")
from qdfast.serve.model_config import ModelConfig, ModelConfigFile, VersionPolicy

SEVERAL = """
# One of each policy.
model_config_list {
  config { name: "a" base_path: "/m/a" model_platform: "tensorflow" }
  config {
    name: "b" base_path: "/m/b" model_type: TENSORFLOW
    model_version_policy { latest { num_versions: 2 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 2 }
  }
  config { name: "c" base_path: "/m/c" model_platform: "tensorflow" model_version_policy { all {} } }
  config {
    name: "d" base_path: "/m/d" model_platform: "tensorflow"
    model_version_policy { specific { versions: 7 versions: 3 } }
  }
  config { name: "e" base_path: "/m/e" model_platform: "tensorflow" model_version_policy { latest {} } }
}
"""


@pytest.fixture
def file(tmp_path: Path) -> ModelConfigFile:
    return ModelConfigFile(tmp_path / "models.config")


def one(text: str) -> str:
    return f"model_config_list {{ config {{ {text} }} }}"


def test_several_models(file: ModelConfigFile) -> None:
    file.path.write_text(SEVERAL)
    assert file.read() == [
        ModelConfig("a", Path("/m/a")),
        ModelConfig("b", Path("/m/b"), VersionPolicy(latest=2), {"stable": 1, "canary": 2}),
        ModelConfig("c", Path("/m/c"), VersionPolicy(latest=None)),
        ModelConfig("d", Path("/m/d"), VersionPolicy(specific=frozenset({3, 7}))),
        ModelConfig("e", Path("/m/e"), VersionPolicy(latest=1)),
    ]


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), {10}),
        (VersionPolicy(latest=2), {9, 10}),
        (VersionPolicy(latest=5), {2, 9, 10}),
        (VersionPolicy(latest=None), {2, 9, 10}),
        (VersionPolicy(specific=frozenset({2, 3})), {2}),
        (VersionPolicy(specific=frozenset({3})), set()),
    ],
)
def test_policies(policy: VersionPolicy, chosen: set[int]) -> None:
    assert policy.choose([9, 10, 2]) == chosen
    assert policy.choose([]) == set()


GOOD = 'name: "a" base_path: "/m/a" model_platform: "tensorflow"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this file lists no models"),
        ("model_config_list {}", "this file lists no models"),
        ("custom_model_config {}", "this file lists no models"),
        ("model_config_list {", "not a ModelServerConfig: "),
        (one('nmae: "a"'), 'not a ModelServerConfig: 1:30 : .* has no field named "nmae"'),
        (one(f"{GOOD} }} config {{ {GOOD}"), "Illegal to list model a multiple times in config list"),
        (one('base_path: "/m/a" model_platform: "tensorflow"'), "a model without a name; its base_path is '/m/a'"),
        (one('name: "a" model_platform: "tensorflow"'), r"Expected model a to have an absolute path.*base_path\(\)=$"),
        (
            one('name: "a" base_path: "m/a" model_platform: "tensorflow"'),
            r"Expected model a to have an absolute path or URI; got base_path\(\)=m/a",
        ),
        (one('name: "a" base_path: "gs://b/a" model_platform: "tensorflow"'), "model a: gs://b/a: the embedded server"),
        (one('name: "a" base_path: "/m/a"'), "model a: model_platform is not set"),
        (
            one('name: "a" base_path: "/m/a" model_platform: "torch"'),
            "Model a requests unsupported platform torch",
        ),
        (
            one(GOOD + " model_version_policy { specific {} }"),
            "model a: the version policy `specific` lists no versions",
        ),
    ],
)
def test_what_is_refused(file: ModelConfigFile, text: str, message: str) -> None:
    file.path.write_text(text)
    with pytest.raises(DataError, match=f"models.config: {message}") as e:
        file.read()
    assert "\n" not in str(e.value)


def test_a_file_that_cannot_be_read(file: ModelConfigFile) -> None:
    with pytest.raises(DataError, match=r"models.config: No such file or directory"):
        file.read()
    file.path.mkdir()
    with pytest.raises(DataError, match=r"models.config: Is a directory"):
        file.read()
    file.path.rmdir()
    file.path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"models.config: not a ModelServerConfig"):
        file.read()


def test_it_is_read_again_when_it_has_changed(file: ModelConfigFile) -> None:
    file.path.write_text(one(GOOD))
    before = file.read()
    assert file.read_changed() is None
    new = file.path.with_suffix(".new")
    new.write_text(one(GOOD.replace('"a"', '"b"', 1)))  # as long as the old one
    os.utime(new, ns=(file.path.stat().st_mtime_ns,) * 2)
    new.rename(file.path)
    assert file.read_changed() == [ModelConfig("b", before[0].path)]
    assert file.read_changed() is None
    file.path.write_text("broken")
    with pytest.raises(DataError):
        file.read_changed()
    assert file.read_changed() is None  # it has been said
    file.path.unlink()
    with pytest.raises(DataError):
        file.read_changed()
    assert file.read_changed() is None
    file.path.write_text(one(GOOD))
    assert file.read_changed() == before


def test_the_file_of_serving(file: ModelConfigFile) -> None:
    (config,) = ModelConfigFile(ROOT / "serving" / "models.config").read()
    assert config == ModelConfig("doodles", Path("/models/doodles"))
