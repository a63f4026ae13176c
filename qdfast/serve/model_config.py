"""Which models are served: TensorFlow Serving's ModelServerConfig, checked by its rules."""

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
class VersionPolicy:
    """Which of the available versions of a model to load.

    Attributes:
        latest: the number of versions to load, from the highest down; None for all.
        specific: if not empty, load only these versions.
    """

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Return those of ``versions`` that should be loaded."""
        if self.specific:
            return set(self.specific.intersection(versions))
        return set(sorted(versions, reverse=True)[: self.latest])


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: the model's name for clients.
        path: model directory, with a subdirectory for every version.
        policy: which versions to load.
        labels: names of versions, which clients may use instead of numbers.
    """

    name: str
    path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)


class ModelConfigFile:
    """A file with a ModelServerConfig as text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last_read: object = ()  # fingerprint

    def read(self, *, remote: bool = False) -> list[ModelConfig]:
        """Return the models that the file lists.

        Args:
            remote: accept models at a URI, which only TensorFlow Serving can read.

        Raises:
            DataError: the file cannot be read, or TensorFlow Serving would reject it.
        """
        self._last_read = self._fingerprint()
        try:
            configs = model_configs(parse_config(self.path), remote=remote)
        except DataError as e:
            raise DataError(f"{self.path}: {e}") from e
        if not configs:
            raise DataError(f"{self.path}: this file lists no models")
        return configs

    def read_changed(self) -> list[ModelConfig] | None:
        """Like ``read``, but return None if the file has not changed since the last read, even one that failed."""
        return None if self._fingerprint() == self._last_read else self.read()

    def _fingerprint(self) -> object:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def parse_config(path: Path) -> Any:
    """Return the ModelServerConfig in a text file, without checking its models.

    Raises:
        DataError: the file cannot be read or parsed.
    """
    config = pb.ModelServerConfig()
    try:
        text_format.Parse(path.read_bytes(), config)
    except OSError as e:
        raise DataError(str(e.strerror)) from e
    except (text_format.ParseError, UnicodeDecodeError) as e:
        raise DataError(f"not a ModelServerConfig: {' '.join(str(e).split())}") from e
    return config


def model_configs(config: Any, *, remote: bool = False) -> list[ModelConfig]:
    """Return the models of a ModelServerConfig; ``remote`` as for ``ModelConfigFile.read``.

    Raises:
        DataError: TensorFlow Serving or the embedded server cannot serve a model.
    """
    models: dict[str, ModelConfig] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise DataError(f"Illegal to list model {model.name} multiple times in config list")
        models[model.name] = _model_config(model, remote)
    return list(models.values())


def _model_config(model: Any, remote: bool) -> ModelConfig:
    if not model.name:
        raise DataError(f"a model without a name; its base_path is {model.base_path!r}")
    is_remote = "://" in model.base_path
    if is_remote and not remote:
        raise DataError(f"model {model.name}: {model.base_path}: the embedded server reads local directories only")
    if not is_remote and not model.base_path.startswith("/"):
        raise DataError(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
        )
    platform = PLATFORM if model.model_type == pb.TENSORFLOW else model.model_platform
    if not platform:
        raise DataError(f"model {model.name}: model_platform is not set; it must be {PLATFORM!r}")
    if platform != PLATFORM:
        raise DataError(f"Model {model.name} requests unsupported platform {platform}")
    return ModelConfig(model.name, Path(model.base_path), _policy(model), dict(model.version_labels))


def _policy(model: Any) -> VersionPolicy:
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(latest=None)
    if choice == "specific":
        if not policy.specific.versions:
            raise DataError(f"model {model.name}: the version policy `specific` lists no versions")
        return VersionPolicy(specific=frozenset(policy.specific.versions))
    return VersionPolicy(latest=max(1, policy.latest.num_versions))


def single_model(model_dir: Path, name: str | None = None) -> Sequence[ModelConfig]:
    """Return the configuration for the model in ``model_dir``; its name defaults to that of the directory."""
    return [ModelConfig(name or model_dir.resolve().name, model_dir)]
