"""Which models are served: a model's name, its directory, and which of the versions there are to be loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Policy:
    """Which versions of a model are to be loaded, of those that there are.

    Attributes:
        latest: how many, from the highest down; None for all.
        specific: these alone, if not empty.
    """

    latest: int | None = 1
    specific: frozenset[int] = frozenset()


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


def model_configs(models: Path | Sequence[ModelConfig], name: str | None = None) -> list[ModelConfig]:
    """``models`` as a list; a path is one model directory, whose model is called ``name``, or as the directory."""
    if isinstance(models, Path):
        return [ModelConfig(name or models.resolve().name, models)]
    return list(models)
