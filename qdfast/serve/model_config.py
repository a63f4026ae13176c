"""Which models are served: TensorFlow Serving's ModelServerConfig, read by its rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2 as pb

from ..errors import DataError

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class Policy:
    """Which versions of a model are to be loaded, of those that there are.

    Attributes:
        latest: how many, from the highest down; None for all.
        specific: these alone, if not empty.
    """

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Those of ``versions`` that are to be loaded."""
        if self.specific:
            return set(self.specific.intersection(versions))
        return set(sorted(versions, reverse=True)[: self.latest])


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: for clients.
        path: model directory, with a sub-directory for every version.
        labels: names for versions, which clients may ask for instead of a number.
    """

    name: str
    path: Path
    policy: Policy = Policy()
    labels: Mapping[str, int] = field(default_factory=dict)


class ModelsFile:
    """A file with a ModelServerConfig as text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: object = ()

    def read(self) -> list[ModelConfig]:
        """The models it lists. DataError: it cannot be read, or TensorFlow Serving would refuse it."""
        self._seen = self._look()
        try:
            configs = model_configs(parse(self.path))
        except DataError as e:
            raise DataError(f"{self.path}: {e}") from e
        if not configs:
            raise DataError(f"{self.path}: it lists no model")
        return configs

    def read_changed(self) -> list[ModelConfig] | None:
        """As ``read``, or None if the file is as it was when it was last read, well or not."""
        return None if self._look() == self._seen else self.read()

    def _look(self) -> object:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def parse(path: Path) -> Any:
    """The ModelServerConfig in a text file, not yet checked. DataError: it cannot be read."""
    config = pb.ModelServerConfig()
    try:
        text_format.Parse(path.read_bytes(), config)
    except OSError as e:
        raise DataError(str(e.strerror)) from e
    except (text_format.ParseError, UnicodeDecodeError) as e:
        raise DataError(f"not a ModelServerConfig: {' '.join(str(e).split())}") from e
    return config


def model_configs(config: Any) -> list[ModelConfig]:
    """The models of a ModelServerConfig. DataError: one that TensorFlow Serving, or this server, cannot serve."""
    models: dict[str, ModelConfig] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise DataError(f"Illegal to list model {model.name} multiple times in config list")
        models[model.name] = _model_config(model)
    return list(models.values())


def _model_config(model: Any) -> ModelConfig:
    if not model.name:
        raise DataError(f"a model without a name; its base_path is {model.base_path!r}")
    if "://" in model.base_path:
        raise DataError(f"model {model.name}: {model.base_path}: the embedded server reads local directories only")
    if not model.base_path.startswith("/"):
        raise DataError(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
        )
    platform = PLATFORM if model.model_type == pb.TENSORFLOW else model.model_platform
    if not platform:
        raise DataError(f"model {model.name}: model_platform is not set; it must be {PLATFORM!r}")
    if platform != PLATFORM:
        raise DataError(f"Model {model.name} requests unsupported platform {platform}")
    return ModelConfig(model.name, Path(model.base_path), _policy(model), dict(model.version_labels))


def _policy(model: Any) -> Policy:
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return Policy(latest=None)
    if choice == "specific":
        if not policy.specific.versions:
            raise DataError(f"model {model.name}: its version policy is specific, and names no versions")
        return Policy(specific=frozenset(policy.specific.versions))
    return Policy(latest=max(1, policy.latest.num_versions))


def one_model(model_dir: Path, name: str | None = None) -> Sequence[ModelConfig]:
    """The model in ``model_dir``, called ``name`` or, if that is None, as the directory."""
    return [ModelConfig(name or model_dir.resolve().name, model_dir)]
