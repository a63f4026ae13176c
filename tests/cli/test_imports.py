"""What commands import: little for a start, and nothing heavy before an error that needs none of it.

Modules are counted, not seconds, which depend on the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from qdfast.dataset.prepare import prepare
from qdfast.learn.training.config import TrainConfig
from qdfast.learn.training.history import FIGURES, checkpoint_path, write_history
from qdfast.learn.training.runs import run_info, start_run

pytestmark = pytest.mark.slow

HEAVY = {"tensorflow", "keras", "jax", "sklearn", "scipy", "matplotlib", "tensorflow_serving", "apache_beam", "pyarrow"}
HELP = "from qdfast.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"


def modules(code: str) -> set[str]:
    """The modules that ``code`` imports."""
    code += "\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    env = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("code", "least", "budget"),
    [
        ("import qdfast", "import numpy", 90),
        (
            "import qdfast.client",
            "import qdfast, grpc, google.protobuf.any_pb2, google.protobuf.wrappers_pb2, google.protobuf.json_format",
            25,
        ),
        (HELP, "import qdfast, argparse, shutil, gettext", 10),
    ],
)
def test_a_start_imports_few_modules(code: str, least: str, budget: int) -> None:
    """At most ``budget`` modules more than ``least``, which cannot be avoided."""
    if "grpc" in least:
        pytest.importorskip("grpc")
    loaded = modules(code)
    more = sorted(loaded - modules(least))
    assert len(more) <= budget, more
    tops = {name.partition(".")[0] for name in loaded}
    assert not tops & (HEAVY | {"PIL", "html", "fractions", "hashlib", "email", "difflib", "shtab"})
    assert "importlib.metadata" not in loaded
    if "client" not in code:
        assert not tops & {"asyncio", "ssl", "socket", "grpc", "google"}


@pytest.mark.parametrize("name", ["keras", "tensorflow"])
def test_a_command_imports_less_of_tensorflow_and_hides_nothing_afterwards(name: str) -> None:
    pytest.importorskip("tensorflow")
    optional = {top for top in ("jax", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn") if find_spec(top)}
    code = (
        "from qdfast._quiet import import_tensorflow, minimal_imports\n"
        "from qdfast.learn.backend import import_keras\n"
        f"with minimal_imports(): {'import_keras' if name == 'keras' else 'import_tensorflow'}()\n"
    )
    loaded = {module.partition(".")[0] for module in modules(code)}
    assert name in loaded
    assert not loaded & optional
    if name == "keras":
        assert optional <= {module.partition(".")[0] for module in modules(f"{code}import {', '.join(optional)}")}


@pytest.fixture
def work(doodles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: drawings, prepared data, a run without and one with an epoch, models without content."""
    monkeypatch.chdir(tmp_path)
    data = prepare([doodles], "data", log=lambda line: None)
    settled = TrainConfig().settle()
    rows = data.rows("train"), data.rows("validation")
    info = run_info(settled.arguments, data, *rows, parameters=1, backend="tensorflow", packages=())
    for path in map(Path, ("runs/first", "done")):
        path.mkdir(parents=True)
        start_run(path, info)
    checkpoint_path(Path("done"), 1).touch()
    write_history(Path("done"), [dict.fromkeys(FIGURES, 0.5) | {"epoch": 1}], checkpoint_path(Path("done"), 1))
    Path("drawings").symlink_to(doodles)
    Path("models/animals/1").mkdir(parents=True)
    Path("models/animals/1/saved_model.pb").touch()
    Path("empty").mkdir()
    return tmp_path


REFUSED = [
    ("train dta --out x", "dta: no such directory (did you mean data?)"),
    ("train drawings --out x", "drawings: not a prepared directory: it has no manifest.json"),
    ("train . --out x", ".: not a prepared directory: it has no manifest.json; prepared data is in data"),
    ("train data --out data", "data: not empty, and not a run directory"),
    ("train data --out drawings/star.ndjson", "drawings/star.ndjson: Not a directory"),
    ("train data --out runs/first --batch 64", "contains a run with other settings (batch 256, not 64)"),
    ("train data --out x --model stroke_cnv", "no model named 'stroke_cnv' (did you mean stroke_conv?); choose from"),
    ("train data --out x --patience 3", "recipe strong has a fixed number of epochs, so patience does not apply"),
    ("train data --out x --model bitmap_cnn --max-len 9", "bitmap_cnn takes bitmaps, so max_len and buckets do not"),
    ("train data --out x --learning-rate -1", "learning_rate is -1.0: it must be positive"),
    ("train data --out x --distribute multiworker", "TF_CONFIG names no other worker"),
    ("train data --out x --model knn --epochs 3", "these options are for networks, and knn is not one: epochs"),
    ("train data --out x --init runs/frist", "runs/frist: no such directory (did you mean runs/first?)"),
    ("train data --out x --init runs/first", "runs/first: no epoch of this run has finished"),
    ("train data --out x --init data", "data: not a run directory"),
    ("train data --out x --init done --model stroke_lstm", "done: a run of stroke_conv, not of stroke_lstm"),
    ("train data --out done --init done --batch 256 --learning-rate 0.002", "a run with other settings (init None, not"),
    ("train data --out x --init done --model knn", "these options are for networks, and knn is not one: init"),
    ("evaluate runs/frist data --out report", "runs/frist: no such directory (did you mean runs/first?)"),
    ("evaluate runs data --out report", "runs: not a run directory: it has no run.json; a training run is in runs/first"),
    ("evaluate runs/first dta --out report", "dta: no such file or directory (did you mean data?)"),
    ("evaluate runs/first data --out data", "data: contains prepared data: a report needs a directory of its own"),
    ("evaluate runs/first data --out report", "runs/first: no epoch of this run has finished"),
    ("export runs/frist --out m", "runs/frist: no such directory (did you mean runs/first?)"),
    ("export data --out m", "data: not a run directory"),
    ("export runs/first --out m", "runs/first: no epoch of this run has finished"),
    ("convert dta --out x --format tfrecord", "dta: no such directory (did you mean data?)"),
    ("convert empty --out x --format tfrecord-rnn", "empty: neither prepared"),
    ("convert data --out runs/first --format tfrecord", "runs/first: contains a training run"),
    ("serve models --embedded", "models: no model version found; expected a numbered directory such as models/1; a model is"),
    ("serve models/animls --embedded", "models/animls: no such directory (did you mean models/animals?)"),
    ("serve runs/first --embedded", "runs/first: is a training run"),
    ("predict drawings --model-dir models", "a model is in models/animals"),
    ("predict drawings --model-dir model", "model: no such directory (did you mean models?)"),
    ("predict drawings --model-dir models/animals --version 7", "this model has no version 7; the newest is 1"),
    ("predict drawing --model-dir models/animals", "drawing: no such file or directory (did you mean drawings?)"),
    ("play --model-dir models --port 0", "a model is in models/animals"),
    ("play --model-dir models/animals --data dta --port 0", "dta: no such file or directory (did you mean data?)"),
    ("info modls", "modls: no such file or directory (did you mean models?)"),
    ("prepare drawngs --out x", "drawngs: no such file or directory (did you mean drawings?)"),
    ("models", ""),
    ("models --json", ""),
]  # fmt: skip

SCRIPT = """
import contextlib, io, json, sys
from qdfast.cli import main
for command, said in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(command.split())
    assert status == bool(said), (command, status, err.getvalue())
    assert said in err.getvalue(), (command, said, err.getvalue())
    heavy = {name.partition(".")[0] for name in sys.modules} & set(sys.argv[2:])
    assert not heavy, (command, heavy)
"""


def test_errors_are_raised_before_anything_heavy_is_imported(work: Path) -> None:
    pytest.importorskip("grpc")
    pytest.importorskip("uvicorn")
    before = sorted(str(path) for path in work.rglob("*"))
    env = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    heavy = HEAVY - {"tensorflow_serving"}  # its messages do without TensorFlow
    command = [sys.executable, "-c", SCRIPT, json.dumps(REFUSED), *heavy]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert sorted(str(path) for path in work.rglob("*")) == before


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_backends_log_nothing(backend: str) -> None:
    """Keras imports TensorFlow in `set_random_seed`, also with JAX."""
    if find_spec(backend) is None or find_spec("keras") is None:
        pytest.skip(f"{backend} or Keras is not installed")
    code = (
        "from qdfast.learn.backend import import_keras; import_keras()\n"
        "from qdfast.learn.training.config import TrainConfig\n"
        "from qdfast.learn.training.train import new_network\n"
        "new_network(TrainConfig('bitmap_cnn').settle().arguments, 3)"
    )
    env = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    env["KERAS_BACKEND"] = backend
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
