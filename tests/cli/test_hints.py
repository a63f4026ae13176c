"""What is said where a package of an extra is missing: the extra of the command, whichever package it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import BLOCKED
from paths import ROOT

import qdfast
from qdfast._hints import MODULES, install, needs, require
from qdfast.learn.training.config import TrainConfig
from qdfast.learn.training.history import FIGURES, checkpoint_path, write_history
from qdfast.learn.training.runs import run_info, start_run

COMMAND = BLOCKED + "from qdfast.cli import main\nsys.exit(main(sys.argv[2:]))"


def without(missing: str, code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``code`` where the ``missing`` modules cannot be imported."""
    command = [sys.executable, "-c", code, missing, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def work(prepared: qdfast.Prepared, doodles: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").symlink_to(prepared.path)
    (tmp_path / "drawings").symlink_to(doodles)
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "saved_model.pb").touch()
    (tmp_path / "onnx" / "1").mkdir(parents=True)
    (tmp_path / "onnx" / "1" / "model.onnx").touch()
    return tmp_path


COMMANDS = [
    *(("serve model --embedded --port 0", module, "serve") for module in MODULES["serve"]),
    *(("predict drawings --model-dir model", module, "serve") for module in ("tensorflow", "google.protobuf")),
    *(("predict drawings --target 127.0.0.1:1", module, "client") for module in MODULES["client"]),
    ("predict drawings --model-dir onnx", "onnxruntime", "local"),
    *(("play --target 127.0.0.1:1 --port 0", module, "play") for module in MODULES["play"] if module != "onnxruntime"),
    *(("play --model-dir onnx --port 0", module, "play") for module in ("uvicorn", "onnxruntime")),
    *(("play --model-dir model --port 0", module, "play,serve") for module in ("uvicorn", "grpc", "tensorflow", "grpc_health")),
    ("train data --out x", "keras", "train"),
    ("train data --out x", "tensorflow", "train"),
    ("train data --out x --model knn", "sklearn", "train"),
    *(("export run --out x --format onnx", module, "train,onnx") for module in (*MODULES["onnx"], "tensorflow")),
    *(("export run --out x --format openvino", module, "train,openvino") for module in MODULES["openvino"]),
    ("export run --out x --format litert", "tensorflow", "train"),
    ("convert data --out x --format tfrecord", "tensorflow", "train"),
    ("convert data --out x --format tfrecord-rnn", "tensorflow", "train"),
    ("convert data --out x --format parquet", "pyarrow", "convert"),
    ("convert data --out x --format arrow", "pyarrow", "convert"),
    ("prepare drawings --out x --runner beam", "apache_beam", "beam"),
    ("info drawings --gallery x.png", "PIL", "pictures"),
    ("info pictures", "PIL", "pictures"),
    ("prepare drawings.parquet --out x", "pyarrow", "convert"),
    ("--print-completion bash", "shtab", "completion"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "missing", "extras"), COMMANDS)
@pytest.mark.slow
def test_the_extra_is_that_of_the_command(command: str, missing: str, extras: str, work: Path) -> None:
    if command.startswith("info pictures"):
        (work / "pictures" / "cat").mkdir(parents=True)
        (work / "pictures" / "cat" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    if command.startswith("export"):
        write_run(work / "run")
    if "parquet --out" in command:
        (work / "drawings.parquet").write_bytes(b"PAR1" + bytes(64) + b"PAR1")
    before = sorted(work.rglob("*"))
    done = without(missing.split(".")[0], COMMAND, *command.split(), cwd=work, env=environment())
    assert done.returncode == 1, done.stderr
    line = done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert line.startswith("qdfast")
    assert line.endswith(f" is not installed: {install(*extras.split(','))}")
    assert [path for path in sorted(work.rglob("*")) if path not in before] == []


def write_run(path: Path) -> None:
    """A run that is not looked at before the packages are missed."""
    data = qdfast.open_prepared(path.parent / "data")
    rows = data.rows("train"), data.rows("validation")
    path.mkdir()
    start_run(path, run_info(TrainConfig().settle().arguments, data, *rows, parameters=1, backend="x", packages=()))
    checkpoint_path(path, 1).touch()
    write_history(path, [{name: 1.0 for name in FIGURES}], checkpoint_path(path, 1))


def environment(**more: str) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": "/nonexistent", **more}


@pytest.mark.slow
def test_jax_is_an_extra_of_its_own(work: Path) -> None:
    done = without("jax", COMMAND, *["train", "data", "--out", "x"], cwd=work, env=environment(KERAS_BACKEND="jax"))
    assert done.stderr.endswith(f"jax is not installed: {install('train', 'jax')}\n")


@pytest.mark.parametrize(
    ("code", "missing", "extra"),
    [
        ("from qdfast.client import Client", "grpc", "client"),
        ("from qdfast.client import AsyncClient", "google", "client"),
        ("import qdfast; qdfast.Classifier('onnx')", "onnxruntime", "local"),
        ("from qdfast.play import play", "starlette", "play"),
        ("import qdfast.dataset.beam", "apache_beam", "beam"),
        ("import qdfast.formats.arrow", "pyarrow", "convert"),
        ("import qdfast.formats.picture_files", "PIL", "pictures"),
        ("from qdfast.serve import ServeOptions, serve; serve(ServeOptions('model', embedded=True, port=0))", "rapidjson", "serve"),
        ("from qdfast.learn.training.train import train; train('data', 'x')", "keras", "train"),
        ("import qdfast; qdfast.open_prepared('data').as_tf_dataset('train', batch=2)", "tensorflow", "train"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_the_library_says_the_same(code: str, missing: str, extra: str, work: Path) -> None:
    done = without(missing, BLOCKED + code, cwd=work, env=environment())
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f" is not installed: {install(extra)}")


def test_a_png_gallery_needs_neither_matplotlib_nor_tensorflow(work: Path) -> None:
    pytest.importorskip("PIL")
    command = ["info", "drawings", "--gallery", "x.png"]
    done = without("matplotlib,tensorflow,keras", COMMAND, *command, cwd=work, env=environment())
    assert done.returncode == 0, done.stderr
    assert (work / "x.png").read_bytes().startswith(b"\x89PNG")


def test_packages_of_others_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'nothing'$"), needs("train"):
        import nothing  # type: ignore[import-not-found]  # noqa: F401
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ImportError, match="grpc is not installed") as raised:
        require("client")
    assert raised.value.name == "grpc"


def test_extras_are_those_of_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = {line.split(" = ")[0] for line in text.strip().splitlines()}
    assert set(MODULES) <= extras
    assert install("serve") == "pip install 'qdfast[serve]' (from a clone: pip install '.[serve]')"


def test_a_clone_that_is_not_built_says_how(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "qdfast").mkdir(parents=True)
    for file in (ROOT / "qdfast").glob("*.py"):
        (clone / "qdfast" / file.name).write_bytes(file.read_bytes())
    # Without site-packages, where an editable installation may provide the extension.
    done = subprocess.run([sys.executable, "-S", "-c", "import qdfast"], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert f"its C extension is not built for Python {sys.version_info[0]}.{sys.version_info[1]}" in line
    assert f"run `pip install -e .` in {clone.resolve()};" in line
