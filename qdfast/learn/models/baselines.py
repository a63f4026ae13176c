"""scikit-learn classifiers, by name: the baselines of the blog, to compare with a bitmap network.

Each is fitted to bitmaps as rows of 784 numbers in 0..1 and then used like a network. The fitted model is saved as
plain arrays. A pickle would run whatever code the file holds and depend on the version of scikit-learn; arrays make a
run from elsewhere safe to load. scikit-learn is imported only when a classifier is created.

Accuracies in the docstrings are those of 6,037 held-out drawings of 20 classes after fitting to 54,549 (one seed, with
95 % confidence); times are for fitting and validation on two virtual CPU cores.
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
from ..._hints import needs
from ...storage.files import replacing

PIXELS = SIDE * SIDE

Arrays: TypeAlias = "Mapping[str, NDArray[Any]]"


class Baseline(ABC):
    """A classifier of ``classes`` classes, labelled 0 to ``classes`` - 1; the training drawings must have all of them.

    Attributes:
        summary, purpose: what it is, and what it is for.
        options: arguments of scikit-learn's class that are not its defaults.
        estimator: an object of that class.
        output_shape: (None, classes), as of a Keras model.
    """

    output_shape: tuple[None, int]
    estimator: Any
    summary: ClassVar[str]
    purpose: ClassVar[str]
    options: ClassVar[dict[str, Any]]

    def __init__(self, classes: int, *, seed: int, **options: Any) -> None:
        self.output_shape = (None, classes)
        with needs("train"):
            self.estimator = self._new_estimator(seed, options)

    @staticmethod
    @abstractmethod
    def _new_estimator(seed: int, options: Mapping[str, Any]) -> Any: ...

    @classmethod
    def parameters(cls, classes: int) -> int | None:
        """The number of learned parameters; None if it grows with the number of drawings."""
        return None

    @classmethod
    def fit_problem(cls, drawings: int, classes: int) -> str:
        """Why this machine cannot fit the model to so many drawings; "" if it can."""
        need, memory = cls._memory(drawings, classes), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if need <= memory:
            return ""
        return (
            f"{drawings:,} drawings of {classes} classes would take about {need / 1e9:,.0f} GB of memory, "
            f"and this machine has {memory / 1e9:,.0f}"
        )

    @classmethod
    def _memory(cls, drawings: int, classes: int) -> int:
        """Bytes that fitting takes: the bitmaps, and their pixels as float32."""
        return drawings * PIXELS * 5

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        """Fit to ``bitmaps`` (n, 28, 28) and ``labels`` (n,); returns scikit-learn's warnings, or ""."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            self.estimator.fit(flatten_and_scale(bitmaps), labels)
        return " ".join(str(w.message) for w in caught)

    def predict_on_batch(self, inputs: Arrays) -> NDArray[np.float32]:
        """Probabilities float32 (m, classes) for ``bitmaps`` uint8 (m, 28, 28), as ``keras.Model.predict_on_batch``."""
        probabilities: NDArray[np.float64] = self.estimator.predict_proba(flatten_and_scale(inputs["bitmaps"]))
        return probabilities.astype(np.float32)

    @abstractmethod
    def arrays(self) -> Arrays:
        """The fitted model as arrays."""

    @abstractmethod
    def restore(self, arrays: Arrays) -> None:
        """Take over a model fitted earlier.

        Raises:
            ValueError, KeyError: ``arrays`` do not come from ``arrays()`` of the same kind of model.
        """

    def save(self, path: Path) -> None:
        """Write ``arrays()`` to ``path``, atomically."""
        arrays: dict[str, Any] = dict(self.arrays())
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote. A damaged file raises one of ``training.runs.READ_ERRORS``."""
        with np.load(path, allow_pickle=False) as saved:
            self.restore(saved)

    def _fit_placeholder(self) -> None:
        """Fit to one drawing per class, so that only the learned arrays remain to be replaced."""
        classes = self.output_shape[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.estimator.fit(np.eye(classes, PIXELS, dtype=np.float32), np.arange(classes))


class RandomForest(Baseline):
    """100 decision trees of unlimited depth.

    ``qdfast train DATA --out RUN --model random_forest``: top-1 71.5 ± 1.1 %, top-3 87.3 ± 0.8 %, in 49 seconds.
    """

    summary = "random forest of 100 trees on 28 x 28 pixels (the blog's)"
    purpose = "a baseline without a network; its size grows with the number of drawings"
    options: ClassVar[dict[str, Any]] = {"n_estimators": 100}

    @staticmethod
    def _new_estimator(seed: int, options: Mapping[str, Any]) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**options, random_state=seed, n_jobs=-1)

    @classmethod
    def _memory(cls, drawings: int, classes: int) -> int:
        nodes: int = drawings // 2 * cls.options["n_estimators"]  # as measured on 20 classes
        return super()._memory(drawings, classes) + nodes * (64 + 8 * classes)

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        warned = super().fit(bitmaps, labels)
        self._predict_sequentially()
        return warned

    def _predict_sequentially(self) -> None:
        """Threads would add up the trees' probabilities in any order, which changes the last bits."""
        self.estimator.set_params(n_jobs=1)

    def arrays(self) -> Arrays:
        """For tree i: ``nodes<i>`` structured (nodes,), ``values<i>`` float64 (nodes, 1, classes), ``max_depth<i>``."""
        states = enumerate(tree.tree_.__getstate__() for tree in self.estimator.estimators_)
        return {f"{name}{i}": state[name] for i, state in states for name in ("nodes", "values", "max_depth")}

    def restore(self, arrays: Arrays) -> None:
        from sklearn.tree._tree import Tree

        self._fit_placeholder()
        self._predict_sequentially()
        classes = self.output_shape[1]
        for i, tree in enumerate(self.estimator.estimators_):
            nodes, values, depth = (arrays[f"{name}{i}"] for name in ("nodes", "values", "max_depth"))
            _check_tree(nodes)
            tree.tree_ = Tree(PIXELS, np.array([classes], np.intp), 1)
            state = {"node_count": len(nodes), "nodes": nodes, "values": values, "max_depth": int(depth)}
            tree.tree_.__setstate__(state)


def _check_tree(nodes: NDArray[Any]) -> None:
    """Raise ValueError unless every path from the root ends in a leaf: scikit-learn follows indices unchecked."""
    if not nodes.dtype.names or not len(nodes):
        raise ValueError("not the nodes of a tree")
    inner = np.flatnonzero(nodes["left_child"] != -1)
    for side in ("left_child", "right_child"):
        child = nodes[side][inner]
        if not ((inner < child) & (child < len(nodes))).all():
            raise ValueError("a tree has an invalid child index")
    if not ((nodes["feature"][inner] >= 0) & (nodes["feature"][inner] < PIXELS)).all():
        raise ValueError("a tree has an invalid feature index")


class NearestNeighbours(Baseline):
    """k-nearest neighbours, k = 5, by Euclidean distance of the pixels.

    ``qdfast train DATA --out RUN --model knn``: top-1 74.1 ± 1.1 %, top-3 87.7 ± 0.8 %, in 39 seconds.
    """

    summary = "5 nearest neighbours among all training drawings, by pixels (the blog's)"
    purpose = "a baseline that only stores its training drawings: large, and slow to predict"
    options: ClassVar[dict[str, Any]] = {"n_neighbors": 5}
    _learned: Arrays

    @staticmethod
    def _new_estimator(seed: int, options: Mapping[str, Any]) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(**options, algorithm="brute")

    @classmethod
    def fit_problem(cls, drawings: int, classes: int) -> str:
        if drawings < (k := cls.options["n_neighbors"]):
            return f"{drawings} drawings are fewer than the {k} neighbours to look at"
        return super().fit_problem(drawings, classes)

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        self._learned = {"bitmaps": bitmaps, "labels": labels}
        return super().fit(bitmaps, labels)

    def arrays(self) -> Arrays:
        """``bitmaps`` uint8 (n, 28, 28) and ``labels`` int32 (n,)."""
        return self._learned

    def restore(self, arrays: Arrays) -> None:
        bitmaps, labels = arrays["bitmaps"], arrays["labels"]
        if bitmaps.dtype != np.uint8 or bitmaps.shape != (len(labels), SIDE, SIDE):
            raise ValueError(f"bitmaps of type {bitmaps.dtype} and shape {bitmaps.shape}")
        if not np.array_equal(np.unique(labels), np.arange(self.output_shape[1])):
            raise ValueError("the labels do not match the classes of the run")
        self.fit(bitmaps, labels)


class Perceptron(Baseline):
    """Two dense layers of 100 units, trained with Adam until the training loss stops falling.

    ``qdfast train DATA --out RUN --model mlp``: top-1 72.4 ± 1.1 %, top-3 88.8 ± 0.8 %, in 135 seconds.
    """

    summary = "multilayer perceptron, two layers of 100 on 28 x 28 pixels (the blog's)"
    purpose = "a baseline: the simplest network, trained by scikit-learn"
    options: ClassVar[dict[str, Any]] = {"hidden_layer_sizes": [100, 100], "learning_rate_init": 0.001}

    @staticmethod
    def _new_estimator(seed: int, options: Mapping[str, Any]) -> Any:
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**options, random_state=seed)

    @classmethod
    def parameters(cls, classes: int) -> int:
        """The number of weights and biases; two classes share one output."""
        sizes = [PIXELS, *cls.options["hidden_layer_sizes"], classes if classes > 2 else 1]
        return sum((before + 1) * after for before, after in pairwise(sizes))

    def fit(self, bitmaps: NDArray[np.uint8], labels: NDArray[np.int32]) -> str:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):  # with two threads, such small matrices took seven times as long
            return super().fit(bitmaps, labels)

    def arrays(self) -> Arrays:
        """For layer i: ``weights<i>`` float32 (inputs, outputs) and ``biases<i>`` (outputs,)."""
        layers = enumerate(zip(self.estimator.coefs_, self.estimator.intercepts_, strict=True))
        return {f"{name}{i}": a for i, layer in layers for name, a in zip(("weights", "biases"), layer, strict=True)}

    def restore(self, arrays: Arrays) -> None:
        self.estimator.set_params(max_iter=1)
        self._fit_placeholder()
        for name, values in self.arrays().items():
            if arrays[name].shape != values.shape:
                raise ValueError(f"{name} of shape {arrays[name].shape}, not {values.shape}")
            values[:] = arrays[name]


BASELINES: dict[str, type[Baseline]] = {"random_forest": RandomForest, "knn": NearestNeighbours, "mlp": Perceptron}


def flatten_and_scale(bitmaps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``bitmaps`` uint8 (n, 28, 28) as float32 (n, 784) in 0..1."""
    return np.multiply(bitmaps.reshape(len(bitmaps), PIXELS), np.float32(1 / 255), dtype=np.float32)
