"""A simple web server around Keras' `model.predict`, as many people first serve a model.

    python benchmarks/predict_endpoint.py MODELS/doodles/1

POST /predict takes {"deltas": (n, t, 3), "lengths": (n,)} and answers {"probabilities": (n, classes)}, as JSON. Each
request has a thread, as in Flask's development server, and one thread at a time calls `predict`. The server prints its
address when it is ready.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from qdfast._quiet import import_quietly


def load(version_dir: str) -> Any:
    """The SavedModel as a Keras model of {"deltas", "lengths"}."""
    import keras
    import tensorflow as tf

    class Loaded(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.loaded = tf.saved_model.load(version_dir)

        def call(self, inputs: Any) -> Any:
            return self.loaded.signatures["serving_default"](**inputs)["probabilities"]

    return Loaded()


def main() -> None:
    import_quietly("tensorflow")
    model = load(sys.argv[1])
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps the connection
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one packet

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            inputs = {"deltas": np.array(body["deltas"], np.int16), "lengths": np.array(body["lengths"], np.int32)}
            with one_at_a_time:
                probabilities = model.predict(inputs, verbose=0, batch_size=len(body["lengths"]))
            answer = json.dumps({"probabilities": probabilities.tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    for n in (1, 2, 3):  # so that it is traced for any shape before anybody waits
        model.predict({"deltas": np.ones((n, 8 * n, 3), np.int16), "lengths": np.full(n, 8, np.int32)}, verbose=0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
