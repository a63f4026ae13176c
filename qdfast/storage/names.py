"""The names that are written to disk: files in each kind of directory, and option values kept in manifests."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

# Files of drawings.
BITMAP_SUFFIX = ".npy"

# A prepared directory.
MANIFEST = "manifest.json"
SHARDS = "shards"

# A training run.
RUN = "run.json"
HISTORY = "history.json"
BEST = "best.keras"
FITTED = "model.npz"
LOG = "log.csv"

# An evaluation report.
METRICS = "metrics.json"
REPORT_TEXT = "report.txt"
REPORT_PAGE = "report.html"

# Converted drawings.
CONVERTED = "converted.json"
CLASSES = "classes.json"

# A version of an exported model.
SAVED_MODEL = "saved_model.pb"
MODEL_FILES = {"savedmodel": SAVED_MODEL, "onnx": "model.onnx", "litert": "model.tflite", "openvino": "model.xml"}
ONNX_PROPERTY = "qdfast"  # in an ONNX file: the same as in the next
MODEL_INFO = "assets.extra/qdfast.json"
WARM_UP = "assets.extra/tf_serving_warmup_requests"

Kind: TypeAlias = Literal["strokes", "bitmaps"]
Split: TypeAlias = Literal["train", "validation", "all"]
Recognized: TypeAlias = Literal["only", "any"]
OnError: TypeAlias = Literal["count", "raise"]
Route: TypeAlias = Literal["auto", "orjson"]
Label: TypeAlias = Literal["file", "word"]

KINDS: tuple[str, ...] = get_args(Kind)
SPLITS: tuple[Literal["train", "validation"], ...] = ("train", "validation")  # a shard stores indices into this
RECOGNIZED: tuple[str, ...] = get_args(Recognized)
ON_ERROR: tuple[str, ...] = get_args(OnError)
ROUTES: tuple[str, ...] = get_args(Route)
LABELS: tuple[str, ...] = get_args(Label)
CONVERT_FORMATS = ("parquet", "arrow", "tfrecord", "ndjson")
CLASS_FORMATS = {"bin": ".bin", "sketch-rnn": ".npz"}  # a file per class, without room for the word: its suffix
ONE_WAY_FORMATS = (*CLASS_FORMATS, "tfrecord-rnn")  # not for `convert` to read
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
DISTRIBUTE = ("auto", "mirrored", "multiworker", "none")
EXPORT_FORMATS = tuple(MODEL_FILES)
QUANTIZATIONS = ("int8", "float16")
RECIPE_NAMES = ("notebook", "strong")
