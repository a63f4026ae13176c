"""The package as users get it: a wheel built from the sdist, used outside the source tree; cheap imports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

import qdfast
from qdfast import cli

pytestmark = pytest.mark.slow

LINE = '{"word":"cat","recognized":true,"drawing":[[[1,2],[3,4]]]}'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `python -m build` makes from the sdist it has made."""
    out = tmp_path_factory.mktemp("dist")
    env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "PYTHONPATH", "QDFAST_SANITIZE")}
    env["CFLAGS"] = "-O0"  # to compile in a moment
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_works_outside_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    report = [f"learn/evaluation/report.{kind}" for kind in ("html", "css", "js")]
    data = ["py.typed", "_core.pyi", "quickdraw/classes.txt", "play/page/index.html", *report]
    for needed in (*data, "learn/training/train.py", "serve/server.py"):
        assert f"qdfast/{needed}" in names
    assert not [n for n in names if n.startswith(("tests", "csrc", "benchmarks")) or n.endswith((".c", ".pyx"))]
    code = (
        f"import qdfast; d = qdfast.parse_ndjson({LINE.encode()!r}); "
        "print(qdfast.__file__, d.deltas()[0].tolist(), d.report.via_orjson)"
    )
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout == f"{tmp_path / 'site/qdfast/__init__.py'} [[[1.0, 3.0, 0.0], [1.0, 1.0, 1.0]]] 0\n", (
        done.stderr
    )


def test_the_sdist_has_what_a_build_needs(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {re.sub(r"^[^/]*/", "", n) for n in archive.getnames()}
    bindings = {"qdfast/_core.pyx", "qdfast/_qd.pxd", "qdfast/protocol/tfs.proto"}
    assert {"csrc/qd.h", "csrc/scan.c", "LICENSE", *bindings} <= names


def test_import_costs_numpy_orjson_xxhash_and_nothing_more() -> None:
    code = "import qdfast, sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {m.split(".")[0] for m in done.stdout.split()}
    assert {"numpy", "orjson", "xxhash"} <= loaded
    assert not loaded & {"tensorflow", "safetensors", "keras", "grpc", "google", "sklearn", "matplotlib", "Cython"}


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", qdfast.__version__)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"qdfast {qdfast.__version__}\n"
    with pytest.raises(AttributeError, match="module 'qdfast' has no attribute 'versoin'"):
        qdfast.versoin  # noqa: B018


def test_the_client_does_without_tensorflow() -> None:
    code = "import qdfast.client, sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {m.split(".")[0] for m in done.stdout.split()} & {"tensorflow", "keras", "tensorflow_serving"}


@pytest.mark.skipif("QDFAST_EXPECT" not in os.environ, reason="only `make sanitize` asks for a certain build")
def test_the_build_under_test_is_the_one_asked_for() -> None:
    assert Path(qdfast._core.__file__).is_relative_to(os.environ["QDFAST_EXPECT"])
