"""``Classifier``: an exported ONNX file in this process. It needs onnxruntime (the extra ``local``), not TensorFlow."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._hints import needs
from ._suggest import similar_path
from ._telemetry import import_onnxruntime
from .errors import DataError
from .protocol.base_client import BaseSyncClient
from .protocol.errors import WrongInput
from .protocol.requests import ModelSpec, Query, TopKQuery
from .storage import sealed_json
from .storage.model_info import check_model
from .storage.names import MODEL_FILES, ONNX_PROPERTY
from .storage.versions import find_version, model_format


class Classifier(BaseSyncClient):
    """A network that ``qdfast export --format onnx`` wrote. It answers as a client of a served model does.

    Each request runs on one core, and the requests of a long call on all cores. Threads may share a classifier.

    Args:
        path: an ``.onnx`` file; or a model directory, or one of its numbered versions.
        version: number of the version in a model directory, also in digits; None for the newest.
        max_batch: maximum number of drawings per run.

    Attributes:
        info: the description that `qdfast export` wrote: run, model, classes, statistics, temperature.
        version: number of the version; None for a file.

    Raises:
        DataError: there is no such version, it has another format, is damaged, or is not from `qdfast export`.
        MissingPackage: onnxruntime is not installed.

    Example:
        >>> classifier = Classifier("models/doodles")  # doctest: +SKIP
        >>> classifier.predict([[[[0, 255], [0, 255]]]], k=2)[0]  # doctest: +SKIP
        [('line', 0.98), ('stairs', 0.01)]
    """

    info: dict[str, Any]
    version: int | None

    def __init__(self, path: str | os.PathLike[str], version: int | str | None = None, max_batch: int = 256) -> None:
        path = Path(path)
        name, self.version, file = _locate(path, version)
        super().__init__(ModelSpec(str(path), name, self.version), max_batch)
        self._session, self.info = _load(file)
        self._labels = np.array([label.encode() for label in self.classes], dtype=object)
        self._input_names = {value.name for value in self._session.get_inputs()}
        self._input_kind = "bitmaps" if "bitmaps" in self._input_names else "strokes"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of ``probabilities``."""
        return tuple(self.info["classes"])

    async def _execute(self, query: Query[Any]) -> None:
        def answer(i: int) -> dict[str, NDArray[Any]]:
            return self._answer(query, i)

        if len(query) < 2:
            answers = list(map(answer, range(len(query))))
        else:
            with ThreadPoolExecutor(min(len(query), os.cpu_count() or 1)) as pool:
                answers = list(pool.map(answer, range(len(query))))
        for i, outputs in enumerate(answers):
            query.add_outputs(i, outputs, self.version)

    def _answer(self, query: Query[Any], i: int) -> dict[str, NDArray[Any]]:
        inputs = query.inputs(i)
        if inputs.keys() != self._input_names:
            error = WrongInput(f"{self.model_spec} takes {' and '.join(sorted(self._input_names))}")
            error.expected = self._input_kind
            raise error
        (probabilities,) = self._session.run(["probabilities"], inputs)
        if not isinstance(query, TopKQuery):
            return {"probabilities": probabilities}
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : query.k]
        return {"labels": self._labels[best], "scores": np.take_along_axis(probabilities, best, axis=1)}


def _locate(path: Path, version: int | str | None) -> tuple[str, int | None, Path]:
    """The name of the model at ``path``, the number of its version, and its file."""
    if path.suffix == ".onnx" and not path.is_dir():
        if not path.exists():
            raise DataError(f"{path}: no such file{similar_path(path)}")
        if version is not None:
            raise DataError(f"{path}: a file has no versions: give its model directory, or no version")
        return path.stem, None, path
    if model_format(path) is not None and path.resolve().name.isdigit():
        if version is not None:
            raise DataError(f"{path}: is one version of a model; give its parent, {path.resolve().parent}")
        version, path = int(path.resolve().name), path.resolve().parent
    name = path.resolve().name
    number, directory = find_version(path, ModelSpec.checked(str(path), name, version).version)
    if (found := model_format(directory)) != "onnx":
        raise DataError(f"{directory}: not an ONNX file{f', but {MODEL_FILES[found]}' if found else ''}")
    check_model(directory)
    return name, number, directory / MODEL_FILES["onnx"]


def _load(file: Path) -> tuple[Any, dict[str, Any]]:
    """The session of a file, and its description."""
    with needs("local"):
        onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    # Further threads would not answer a drawing faster, and would keep their cores busy while they wait.
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's exceptions have no type in common
        raise DataError(f"{file}: cannot be loaded: {(str(e).strip() or type(e).__name__).splitlines()[0]}") from e
    text = session.get_modelmeta().custom_metadata_map.get(ONNX_PROPERTY)
    if text is None:
        raise DataError(f"{file}: has no class names: it is not from `qdfast export --format onnx`")
    try:
        info = dict(sealed_json.load(text.encode()))
        if not all(isinstance(name, str) for name in info["classes"]):
            raise TypeError("classes are a list of names")
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{file}: its description is damaged: {e}") from e
    return session, info
