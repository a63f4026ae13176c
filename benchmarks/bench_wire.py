"""Measures how long it takes to encode an array as a tensor message.

    python benchmarks/bench_wire.py

The array is float32 (128, 196, 3), the padded input of 128 drawings. The decoded arrays must be equal, and the messages
with `tensor_content` equal byte for byte, before anything is timed. Methods take turns in random order. The table gives
microseconds per message, including serialization.
"""

from __future__ import annotations

import argparse
import random
import statistics
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import write_result
from numpy.typing import NDArray

from qdfast._quiet import import_quietly
from qdfast.protocol import messages
from qdfast.protocol import tfs_pb2 as pb

SHAPE = (128, 196, 3)
CALLS = 20  # per timing

Array = NDArray[np.float32]


def ours(array: Array) -> Any:
    return messages.encode_tensor(array).SerializeToString()


def raw_content(array: Array) -> Any:
    """The minimum: copy the raw bytes into a message of fixed dtype and shape."""
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in SHAPE])
    return pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape, tensor_content=array.tobytes()).SerializeToString()


def one_by_one(array: Array) -> Any:
    """As in the tutorials: ``float_val.extend``."""
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in SHAPE])
    proto = pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape)
    proto.float_val.extend(array.ravel())
    return proto.SerializeToString()


def tensorflow(array: Array) -> Any:
    import tensorflow as tf

    return tf.make_tensor_proto(array).SerializeToString()


METHODS: dict[str, Callable[[Array], bytes]] = {
    "qdfast": ours,
    "tensor_content, by hand": raw_content,
    "tf.make_tensor_proto": tensorflow,
    "float_val.extend": one_by_one,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="(default: %(default)s)")
    options = parser.parse_args()
    import_quietly("tensorflow")
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)

    for name, method in METHODS.items():
        message = pb.TensorProto.FromString(method(array))
        if not np.array_equal(messages.decode_tensor(message), array):
            raise SystemExit(f"{name}: the decoded array differs")
    if not ours(array) == raw_content(array) == tensorflow(array):
        raise SystemExit("the messages differ")

    times: dict[str, list[float]] = {name: [] for name in METHODS}
    turns = list(METHODS.items())
    for i in range(options.rounds + 5):
        random.shuffle(turns)
        for name, method in turns:
            if method is one_by_one and i % 20:
                continue  # it takes a thousand times as long
            calls = 1 if method is one_by_one else CALLS
            took = timeit.timeit(partial(method, array), number=calls) / calls
            if i >= 5:
                times[name].append(1e6 * took)
    medians = {name: statistics.median(took) for name, took in times.items()}
    rows = [
        {"method": name, "us": round(median, 2), "x": round(median / medians["qdfast"], 2)}
        for name, median in medians.items()
    ]
    for row in rows:
        print(f"{row['method']:24} {row['us']:10.1f} µs {row['x']:8.2f} × qdfast")
    print(write_result("wire", {"shape": SHAPE, "dtype": "float32", "bytes": array.nbytes, "rows": rows}))


if __name__ == "__main__":
    main()
