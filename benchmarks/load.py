"""Starts servers and clients as processes, for the serving benchmarks.

A load process runs several clients as threads. Each has its own connection and one call in flight, and records for
every call when it ended, how long it took, which version answered, and the error if it failed. The process is this
file, run as a program. Lines on its standard input give the job and tell it when to start and stop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

import qdfast
from qdfast.client import Client
from qdfast.quickdraw.doodles import write_doodles

TOP = 3  # labels per drawing
QUESTIONS = 64  # different inputs that a client sends in turn
TIMEOUT = 30.0

Ask = Callable[[int], tuple[np.ndarray, int]]  # question -> scores (n, TOP), version


# ---- servers ----


class ServerProcess:
    """``qdfast serve MODEL_DIR FLAGS`` as a process, which can be killed, stopped and started again on its port."""

    def __init__(self, model_dir: Path, *flags: str) -> None:
        self._command = [sys.executable, "-m", "qdfast", "serve", str(model_dir), "--name=model", "--embedded", *flags]
        self.target = ""
        self.start()

    def start(self) -> None:
        """Start it, wait until it is ready, and set ``target`` to its address."""
        port = self.target.rpartition(":")[2] or "0"
        self.process = subprocess.Popen([*self._command, f"--port={port}"], stdout=subprocess.PIPE, text=True)
        self.target = _read_line(self.process).split()[-1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; returns its exit status."""
        self.process.send_signal(number)
        self.process.communicate()
        return self.process.returncode

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()


@contextmanager
def endpoint(version_dir: Path) -> Iterator[str]:
    """The address of a ``predict_endpoint.py`` process."""
    command = [sys.executable, str(Path(__file__).with_name("predict_endpoint.py")), str(version_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield _read_line(process).strip()
    finally:
        process.terminate()
        process.communicate()


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{process.args!r} ended with status {process.wait()}")
    return line


# ---- starting the load ----


class Call(NamedTuple):
    """One call: when it ended (seconds since the epoch), its duration, the version that answered, and its error."""

    ended: float
    seconds: float
    version: int
    error: str


@dataclass
class LoadResult:
    """What clients saw.

    Attributes:
        calls: the calls of all clients, ordered by time.
        answers: the scores (n, TOP) for each question and version; all answers to a question were equal.
        cpu_seconds: CPU time of the client processes during the load.
    """

    calls: list[Call]
    answers: dict[tuple[int, int], np.ndarray]
    cpu_seconds: float


@dataclass
class Job:
    """The task of a load process: ``clients`` of ``kind`` (a key of KINDS) send ``drawings`` to ``targets``."""

    kind: str
    targets: Sequence[str]
    drawings: str
    batch: int
    clients: int


class Load:
    """``job.clients`` clients in one process per core. They send requests from entering the context until ``stop``."""

    def __init__(self, job: Job) -> None:
        n = min(job.clients, os.cpu_count() or 1)
        shares = [len(range(i, job.clients, n)) for i in range(n)]
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        self._processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in shares]
        for process, share in zip(self._processes, shares, strict=True):
            self._send_line(process, json.dumps(asdict(job) | {"clients": share}))
        for process in self._processes:
            _read_line(process)

    def __enter__(self) -> Load:
        for process in self._processes:
            self._send_line(process, "begin")
        return self

    def stop(self) -> LoadResult:
        """Stop the clients; returns what they saw."""
        for process in self._processes:
            self._send_line(process, "end")
        result = LoadResult([], {}, 0.0)
        for process in self._processes:
            said = json.loads(_read_line(process))
            process.communicate()
            result.calls += [Call(*call) for call in said["calls"]]
            result.answers |= {(q, v): np.array(scores) for q, v, scores in said["answers"]}
            result.cpu_seconds += said["cpu_seconds"]
        result.calls.sort()
        return result

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.communicate()

    @staticmethod
    def _send_line(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        print(line, file=process.stdin, flush=True)


def percentiles(calls: Sequence[Call]) -> Mapping[str, float]:
    """Percentiles of the calls' durations, in milliseconds."""
    points = {"p50_ms": 50, "p99_ms": 99, "p99.9_ms": 99.9}
    took = np.percentile([1000 * call.seconds for call in calls], list(points.values()))
    return dict(zip(points, (round(float(ms), 2) for ms in took), strict=True))


# ---- in the load process ----


def questions(path: str, batch: int) -> list[qdfast.Drawings]:
    """QUESTIONS batches of drawings of the ndjson file at ``path``, sampled with a fixed seed."""
    drawings = qdfast.read_ndjson(path, recognized="any")
    return [drawings[part] for part in np.random.default_rng(0).integers(len(drawings), size=(QUESTIONS, batch))]


def write_drawings(directory: Path) -> Path:
    """Write a file of doodles of all classes, for use without real drawings."""
    path = directory / "drawings.ndjson"
    path.write_bytes(b"".join(file.read_bytes() for file in write_doodles(directory / "doodles", per_class=50)))
    return path


def _qdfast(job: Job, asked: list[qdfast.Drawings]) -> Ask:
    client = Client(list(job.targets), model="model", timeout=TIMEOUT)

    def ask(i: int) -> tuple[np.ndarray, int]:
        answer = client.predict(asked[i], k=TOP)
        return answer.scores, answer.version or 0

    return ask


def _official(job: Job, asked: list[qdfast.Drawings]) -> Ask:
    """The code of TensorFlow Serving's tutorials, from arrays made before."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    (target,) = job.targets
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(target))
    arrays = [drawings.deltas(dtype=np.int16) for drawings in asked]

    def ask(i: int) -> tuple[np.ndarray, int]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "model"
        request.model_spec.signature_name = "top_k"
        for name, array in zip(("deltas", "lengths"), arrays[i], strict=True):
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        response = stub.Predict(request, timeout=TIMEOUT)
        tf.make_ndarray(response.outputs["labels"])
        return tf.make_ndarray(response.outputs["scores"])[:, :TOP], response.model_spec.version.value

    return ask


def _http(job: Job, asked: list[qdfast.Drawings]) -> Ask:
    """JSON to a ``predict_endpoint.py``, from arrays made before, over one persistent connection."""
    (target,) = job.targets
    connection = HTTPConnection(target, timeout=TIMEOUT)
    arrays = [drawings.deltas(dtype=np.int16) for drawings in asked]

    def ask(i: int) -> tuple[np.ndarray, int]:
        deltas, lengths = arrays[i]
        body = json.dumps({"deltas": deltas.tolist(), "lengths": lengths.tolist()})
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        probabilities = np.array(json.loads(connection.getresponse().read())["probabilities"], np.float32)
        return -np.sort(-probabilities, axis=1)[:, :TOP], 0

    return ask


KINDS: dict[str, Callable[[Job, list[qdfast.Drawings]], Ask]] = {
    "qdfast": _qdfast,
    "official": _official,
    "http": _http,
}


class ClientThread(threading.Thread):
    """One client; it asks its questions in turn until ``stop`` is set. Its first answer is there when it is made."""

    def __init__(self, ask: Ask, first: int, count: int, stop: threading.Event) -> None:
        super().__init__()
        self._ask, self._question, self._count, self._stop_asking = ask, first % count, count, stop
        self.calls: list[Call] = []
        self.answers: dict[tuple[int, int], np.ndarray] = {}
        self._call()
        self.calls.clear()

    def run(self) -> None:
        while not self._stop_asking.is_set():
            self._call()

    def _call(self) -> None:
        begun, version, error = time.perf_counter(), 0, ""
        try:
            scores, version = self._ask(self._question)
        except Exception as e:
            error = f"{type(e).__name__}: {e}"
        seconds = time.perf_counter() - begun
        if not error:
            known = self.answers.setdefault((self._question, version), scores)
            if not np.allclose(scores, known, atol=1e-5):
                error = f"another answer of version {version} than before"
        self.calls.append(Call(time.time(), seconds, version, error))
        self._question = (self._question + 1) % self._count


def main(lines: IO[str] = sys.stdin) -> None:
    """Run the job in the first line, from the second line to the third; prints "ready", and the result at the end."""
    job = Job(**json.loads(lines.readline()))
    asked = questions(job.drawings, job.batch)
    stop = threading.Event()
    threads = [ClientThread(KINDS[job.kind](job, asked), i, len(asked), stop) for i in range(job.clients)]
    print("ready", flush=True)
    lines.readline()
    cpu = time.process_time()
    for thread in threads:
        thread.start()
    lines.readline()
    stop.set()
    for thread in threads:
        thread.join()
    cpu = time.process_time() - cpu
    answers = {key: scores for thread in threads for key, scores in thread.answers.items()}
    result = {
        "calls": [call for thread in threads for call in thread.calls],
        "answers": [(q, v, scores.tolist()) for (q, v), scores in answers.items()],
        "cpu_seconds": cpu,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
