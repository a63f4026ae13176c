"""scikit-learn's classifiers of the blog, by name: what a network of bitmaps has to be better than.

Each is fitted to bitmaps as rows of 784 numbers in 0..1, and then asked as a network is. What it has learned is kept as
plain arrays, not as a pickle, which would run whatever code its file holds: a run from elsewhere is safe to load, and
not bound to the version of scikit-learn that wrote it. This module imports scikit-learn only when one is made.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..._core import SIDE
from ...storage.files import replacing
from ..training.batches import Inputs

PIXELS = SIDE * SIDE

Arrays: TypeAlias = "Mapping[str, NDArray[Any]]"


class Baseline(ABC):
    """A classifier of ``classes`` classes, labelled 0 to ``classes`` - 1; every one of them must be fitted to.

    Attributes:
        summary, purpose: what it is, and what for.
        options: of scikit-learn's class, where they are not its defaults.
        estimator: an object of that class.
        output_shape: (None, classes), as of a network.
    """

    summary: ClassVar[str]
    purpose: ClassVar[str]
    options: ClassVar[dict[str, Any]]

    def __init__(self, classes: int, *, seed: int, **options: Any) -> None:
        self.output_shape = (None, classes)
        self.estimator = self._new(seed, options)

    @staticmethod
    @abstractmethod
    def _new(seed: int, options: Mapping[str, Any]) -> Any:
        """scikit-learn's object, not fitted."""

    @classmethod
    def parameters(cls, classes: int) -> int | None:
        """How many numbers it learns; None if it grows with the drawings."""
        return None

    @classmethod
    def obstacle(cls, drawings: int, classes: int) -> str:
        """Why it cannot be fitted to so many drawings on this machine; "" if it can."""
        need, there = cls._bytes(drawings, classes), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if need <= there:
            return ""
        return (
            f"{drawings:,} drawings of {classes} classes would take about {need / 1e9:,.0f} GB of memory, "
            f"and this machine has {there / 1e9:,.0f}"
        )

    @classmethod
    def _bytes(cls, drawings: int, classes: int) -> int:
        """Memory that fitting takes: the bitmaps, and their pixels as float32."""
        return drawings * PIXELS * 5

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        """Learn ``labels`` (n,) of ``bitmaps`` (n, 28, 28); returns what scikit-learn warns about, or ""."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            self.estimator.fit(scaled(bitmaps), labels)
        return " ".join(str(w.message) for w in caught)

    def predict_on_batch(self, inputs: Inputs) -> NDArray[np.float32]:
        """Probabilities float32 (m, classes) for ``bitmaps`` uint8 (m, 28, 28)."""
        probabilities: NDArray[np.float64] = self.estimator.predict_proba(scaled(inputs["bitmaps"]))
        return probabilities.astype(np.float32)

    @abstractmethod
    def arrays(self) -> Arrays:
        """What it has learned."""

    @abstractmethod
    def restore(self, arrays: Arrays) -> None:
        """Be as the one whose ``arrays`` these are. ValueError, KeyError: they are not of such a one."""

    def save(self, path: Path) -> None:
        """Write ``arrays``, whole or not at all."""
        arrays: dict[str, Any] = dict(self.arrays())
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote. ``runs.UNREADABLE``: it is not that."""
        with np.load(path, allow_pickle=False) as saved:
            self.restore(saved)

    def _fit_to_anything(self) -> None:
        """Give the estimator all that a fitted one has, so that nothing but what it has learned is to be replaced."""
        classes = self.output_shape[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.estimator.fit(np.eye(classes, PIXELS, dtype=np.float32), np.arange(classes))


class RandomForest(Baseline):
    """Trees fitted to drawings and pixels chosen by chance, each as deep as it needs to tell its drawings apart."""

    summary = "random forest of 100 trees on 28 x 28 pixels (the blog's)"
    purpose = "a baseline without a network; it grows with its drawings"
    options: ClassVar[dict[str, Any]] = {"n_estimators": 100}

    @staticmethod
    def _new(seed: int, options: Mapping[str, Any]) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**options, random_state=seed, n_jobs=-1)

    @classmethod
    def _bytes(cls, drawings: int, classes: int) -> int:
        nodes: int = drawings // 2 * cls.options["n_estimators"]  # as measured on 20 classes
        return super()._bytes(drawings, classes) + nodes * (64 + 8 * classes)

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        """As of the class above, on all cores."""
        said = super().fit(bitmaps, labels)
        self._answer_in_order()
        return said

    def _answer_in_order(self) -> None:
        """One tree after another: threads add their probabilities up in any order, which changes the last bits."""
        self.estimator.set_params(n_jobs=1)

    def arrays(self) -> Arrays:
        """Of tree i ``nodes<i>``, structured (nodes,), ``values<i>`` float64 (nodes, 1, classes), ``max_depth<i>``."""
        states = enumerate(fitted.tree_.__getstate__() for fitted in self.estimator.estimators_)
        return {f"{name}{i}": state[name] for i, state in states for name in ("nodes", "values", "max_depth")}

    def restore(self, arrays: Arrays) -> None:
        """As of the class above; a tree that would lead out of itself is refused."""
        from sklearn.tree._tree import Tree

        self._fit_to_anything()
        self._answer_in_order()
        classes = self.output_shape[1]
        for i, fitted in enumerate(self.estimator.estimators_):
            nodes, values, depth = (arrays[f"{name}{i}"] for name in ("nodes", "values", "max_depth"))
            _check_tree(nodes)
            fitted.tree_ = Tree(PIXELS, np.array([classes], np.intp), 1)
            state = {"node_count": len(nodes), "nodes": nodes, "values": values, "max_depth": int(depth)}
            fitted.tree_.__setstate__(state)


def _check_tree(nodes: NDArray[Any]) -> None:
    """Raises ValueError unless every way down from the first of ``nodes`` ends in a leaf."""
    if not nodes.dtype.names or not len(nodes):
        raise ValueError("not the nodes of a tree")
    inner = np.flatnonzero(nodes["left_child"] != -1)
    for side in ("left_child", "right_child"):
        child = nodes[side][inner]
        if not ((inner < child) & (child < len(nodes))).all():
            raise ValueError("a tree whose branches lead nowhere")
    if not ((nodes["feature"][inner] >= 0) & (nodes["feature"][inner] < PIXELS)).all():
        raise ValueError("a tree that asks for a pixel that there is not")


class NearestNeighbours(Baseline):
    """The classes of the drawings that are nearest, pixel by pixel."""

    summary = "the 5 nearest of all training drawings, pixel by pixel (the blog's)"
    purpose = "a baseline that learns nothing by itself: as large as its drawings, and slow to ask"
    options: ClassVar[dict[str, Any]] = {"n_neighbors": 5}

    @staticmethod
    def _new(seed: int, options: Mapping[str, Any]) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(**options, algorithm="brute")

    @classmethod
    def obstacle(cls, drawings: int, classes: int) -> str:
        """As of the class above, or that there are fewer drawings than neighbours to look at."""
        if drawings < cls.options["n_neighbors"]:
            return f"{drawings} drawings are fewer than the {cls.options['n_neighbors']} neighbours to look at"
        return super().obstacle(drawings, classes)

    _learned: Arrays

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        """As of the class above."""
        self._learned = {"bitmaps": bitmaps, "labels": labels}
        return super().fit(bitmaps, labels)

    def arrays(self) -> Arrays:
        """``bitmaps`` uint8 (n, 28, 28) and ``labels`` int32 (n,): all there is to it."""
        return self._learned

    def restore(self, arrays: Arrays) -> None:
        """As of the class above."""
        bitmaps, labels = arrays["bitmaps"], arrays["labels"]
        if bitmaps.dtype != np.uint8 or bitmaps.shape != (len(labels), SIDE, SIDE):
            raise ValueError(f"bitmaps are {bitmaps.dtype} {bitmaps.shape}")
        if not np.array_equal(np.unique(labels), np.arange(self.output_shape[1])):
            raise ValueError("labels of other classes")
        self.fit(bitmaps, labels)


class Perceptron(Baseline):
    """Two dense layers of 100, by Adam, until the loss of the training drawings no longer falls."""

    summary = "two dense layers of 100 on 28 x 28 pixels (the blog's)"
    purpose = "a baseline: the simplest network, as scikit-learn trains it"
    options: ClassVar[dict[str, Any]] = {"hidden_layer_sizes": [100, 100], "learning_rate_init": 0.001}

    @staticmethod
    def _new(seed: int, options: Mapping[str, Any]) -> Any:
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**options, random_state=seed)

    @classmethod
    def parameters(cls, classes: int) -> int:
        """Weights and biases; of two classes, one output is enough."""
        sizes = [PIXELS, *cls.options["hidden_layer_sizes"], classes if classes > 2 else 1]
        return sum((before + 1) * after for before, after in pairwise(sizes))

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        """As of the class above, on one core: with two, such small matrices took seven times as long."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):
            return super().fit(bitmaps, labels)

    def arrays(self) -> Arrays:
        """``weights<i>`` float32 (inputs, outputs) and ``biases<i>`` (outputs,) of layer i."""
        layers = enumerate(zip(self.estimator.coefs_, self.estimator.intercepts_, strict=True))
        return {f"{name}{i}": a for i, layer in layers for name, a in zip(("weights", "biases"), layer, strict=True)}

    def restore(self, arrays: Arrays) -> None:
        """As of the class above."""
        self.estimator.set_params(max_iter=1)
        self._fit_to_anything()
        for name, values in self.arrays().items():
            if arrays[name].shape != values.shape:
                raise ValueError(f"{name} of shape {arrays[name].shape}, not {values.shape}")
            values[:] = arrays[name]


BASELINES: dict[str, type[Baseline]] = {"random_forest": RandomForest, "knn": NearestNeighbours, "mlp": Perceptron}


def scaled(bitmaps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (n, 784) in 0..1, of uint8 (n, 28, 28)."""
    return np.multiply(bitmaps.reshape(len(bitmaps), PIXELS), np.float32(1 / 255), dtype=np.float32)
