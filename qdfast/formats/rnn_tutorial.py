"""Writes TFRecords for TensorFlow's tutorial "Recurrent Neural Networks for Drawing Classification", and its kin.

===============  ==================  =================================================================================
``ink``          float (n * 3)       steps (dx, dy, end of stroke), of a drawing scaled to 0..1 on each axis, without
                                     its first point: what the tutorial's ``parse_line`` makes of a line
``shape``        int64 (2)           n, 3
``class_index``  int64 (1)           index of the class in the sorted list of all classes; -1 if it is not in the list
===============  ==================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..drawings import Drawings


def to_ink(x: NDArray[np.uint8], y: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 (n, 3) of a drawing with n + 1 points. ``ends``: the last point of each stroke."""
    points = np.stack([x, y], 1).astype(np.float32)
    lower, upper = points.min(axis=0), points.max(axis=0)
    scale = upper - lower
    scale[scale == 0] = 1
    points = (points - lower) / scale
    ink = np.zeros((len(points), 3), np.float32)
    ink[1:, :2] = points[1:] - points[:-1]
    ink[ends, 2] = 1
    return ink[1:]


def write_rnn_tutorial(path: Path, drawings: Drawings, classes: Sequence[str]) -> None:
    """Write a file with one Example per drawing."""
    codes = {name: code for code, name in enumerate(classes)}
    labels = [codes.get(word, -1) for word in drawings.words]
    strokes = drawings.drawing_offsets.tolist()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, code in enumerate(drawings.word_codes.tolist()):
            cuts = drawings.stroke_offsets[strokes[i] : strokes[i + 1] + 1]
            ink = to_ink(drawings.x[cuts[0] : cuts[-1]], drawings.y[cuts[0] : cuts[-1]], cuts[1:] - cuts[0] - 1)
            feature = {
                "ink": tf.train.Feature(float_list=tf.train.FloatList(value=ink.ravel())),
                "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=ink.shape)),
                "class_index": tf.train.Feature(int64_list=tf.train.Int64List(value=[labels[code]])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
