"""Writes drawings as TFRecords of ``tf.train.Example``, and reads them back.

===============  =========  ===================================================================================
``x``, ``y``     bytes      one byte per point, 0..255: ``tf.io.decode_raw(…, tf.uint8)``
``strokes``      bytes      points of each stroke, int32, little-endian: ``tf.io.decode_raw(…, tf.int32)``
``bitmap``       bytes      instead of these for bitmaps: 784, rows from the top
``word``         bytes      the class, UTF-8
``label``        int64      index of the class in the sorted list of all classes; -1 if it is not in the list
``key_id``       int64      its 64 bits, 0 where not given; this and the following only with ``x``, ``y``
``recognized``   int64      1 true, 0 false, 2 not given
``countrycode``  bytes      empty where not given
``timestamp``    int64      µs since 1970-01-01 UTC, the smallest int64 where not given
===============  =========  ===================================================================================
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from .._core import SIDE
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import COLUMNS, Drawings
from ..errors import DataError

_NUMBERS = ("key_id", "recognized", "timestamp")


def write_tfrecord(path: Path, drawings: AnyDrawings, classes: Sequence[str]) -> None:
    """Write a file with one Example per drawing. OSError: the file cannot be written."""
    codes = {name: code for code, name in enumerate(classes)}
    labels = [codes.get(word, -1) for word in drawings.words]
    words = [word.encode() for word in drawings.words]

    def records() -> Iterator[bytes]:
        for code, features in zip(drawings.word_codes.tolist(), _features(drawings), strict=True):
            features |= {"word": words[code], "label": labels[code]}
            example = tf.train.Example(
                features=tf.train.Features(feature={name: _feature(value) for name, value in features.items()})
            )
            yield example.SerializeToString(deterministic=True)

    write_records(path, records())


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file.

    Raises:
        OSError: the file cannot be written. TensorFlow has an error of its own for each reason.
    """
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
    except tf.errors.OpError as e:
        reason = e.message.rpartition("; ")[2]
        number = next((n for n in errno.errorcode if os.strerror(n) == reason), errno.EIO)
        raise OSError(number, reason, str(path)) from e


def _features(drawings: AnyDrawings) -> Iterator[dict[str, bytes | int]]:
    if isinstance(drawings, Bitmaps):
        yield from ({"bitmap": pixels.tobytes()} for pixels in drawings.pixels)
        return
    strokes, points = drawings.drawing_offsets.tolist(), drawings.stroke_offsets.tolist()
    lengths = np.diff(drawings.stroke_offsets).astype("<i4")
    columns = zip(
        drawings.key_id.view(np.int64).tolist(),
        drawings.recognized.tolist(),
        drawings.countrycode.tolist(),
        drawings.timestamp.tolist(),
        strict=True,
    )
    for i, (key_id, recognized, countrycode, timestamp) in enumerate(columns):
        first, end = points[strokes[i]], points[strokes[i + 1]]
        yield {
            "x": drawings.x[first:end].tobytes(),
            "y": drawings.y[first:end].tobytes(),
            "strokes": lengths[strokes[i] : strokes[i + 1]].tobytes(),
            "key_id": key_id,
            "recognized": recognized,
            "countrycode": countrycode,
            "timestamp": timestamp,
        }


def _feature(value: bytes | int) -> Any:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def read_tfrecord(path: Path) -> AnyDrawings:
    """The inverse of ``write_tfrecord``.

    Raises:
        DataError: a damaged file, or other Examples.
    """
    try:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    except tf.errors.DataLossError as e:
        raise DataError(f"a damaged TFRecord: {e.message}") from e
    bitmaps = bool(records) and "bitmap" in tf.train.Example.FromString(records[0]).features.feature
    texts = ("bitmap", "word") if bitmaps else ("x", "y", "strokes", "word", "countrycode")
    wanted = dict.fromkeys(texts, tf.io.FixedLenFeature((), tf.string))
    wanted |= dict.fromkeys(() if bitmaps else _NUMBERS, tf.io.FixedLenFeature((), tf.int64))
    try:
        found = tf.io.parse_example(tf.constant(records, tf.string, (len(records),)), wanted)
    except tf.errors.InvalidArgumentError as e:
        raise DataError(f"not an Example of a drawing: {e.message}") from e
    values: dict[str, Any] = {name: tensor.numpy() for name, tensor in found.items()}
    unique, codes = np.unique(values["word"], return_inverse=True)
    names: dict[str, Any] = {"words": [word.decode() for word in unique] or ("",), "word_codes": codes.astype(np.int32)}
    if bitmaps:
        pixels = np.frombuffer(b"".join(values["bitmap"]), np.uint8)
        return Bitmaps(pixels.reshape(-1, SIDE, SIDE), **names)
    strokes = np.array([len(text) // 4 for text in values["strokes"]], np.int64)
    lengths = np.frombuffer(b"".join(values["strokes"]), "<i4")
    x, y = (np.frombuffer(b"".join(values[axis]), np.uint8) for axis in ("x", "y"))
    return Drawings(
        x,
        y,
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.concatenate([[0], np.cumsum(strokes)]),
        key_id=values["key_id"].view(np.uint64),
        recognized=values["recognized"].astype(np.uint8),
        countrycode=values["countrycode"].astype(COLUMNS["countrycode"][0]),
        timestamp=values["timestamp"],
        **names,
    )
