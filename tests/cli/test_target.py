"""How `qdfast predict` is told whom to ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from certificates import Certificates
from scripted_server import Scripted, drawings, expected

import qdfast
from qdfast import cli
from qdfast.cli.arguments import parser


@pytest.fixture
def server(pems: Certificates) -> Iterator[Scripted]:
    """One that wants certificates."""
    certificate, key = (path.read_bytes() for path in pems.server)
    s = Scripted(credentials=grpc.ssl_server_credentials([(key, certificate)], pems.ca.read_bytes(), True))
    yield s
    s.server.stop(None).wait()


def test_tls_metadata_and_several_targets(
    server: Scripted, pems: Certificates, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    d = drawings()
    (tmp_path / "some.ndjson").write_bytes(qdfast.format_ndjson(d))
    seen: list[dict[str, str]] = []
    respond = server.predict

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        seen.append(dict(context.invocation_metadata()))
        return respond(request, context)

    server.predict = predict
    command = ["predict", str(tmp_path / "some.ndjson"), "--model", "tiny", "--wait", "20"]
    command += ["--target", f"{server.target},{server.target}", "--ca", str(pems.ca)]
    pair = ["--certificate", str(pems.client[0]), "--key", str(pems.client[1])]
    assert cli.main([*command, *pair, "--metadata", "token=a=b", "--metadata", "who=me"]) == 0
    out, err = capsys.readouterr()
    scores = [orjson.loads(line)["scores"] for line in out.splitlines()]
    np.testing.assert_array_equal(np.array(scores, np.float32), -np.sort(-expected(d))[:, :3])
    assert err == "10 drawings\n"
    assert seen
    assert all({"token": "a=b", "who": "me"}.items() <= m.items() for m in seen)

    assert cli.main([*command, "--wait", "0.5"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qdfast predict: error: model 'tiny' at ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem: No such file or directory"),
        (["--key", __file__], "certificate and key"),
        (["--target", "127.0.0.1:1,"], "target is ''"),
        (["--target", "127.0.0.1:1,\udcff:1"], "it must be HOST:PORT"),
        (["--metadata", "Token=a"], "metadata 'Token'"),
        (["--metadata", "token=\udcff"], "metadata 'token'"),
        (
            ["--model-dir", "exports/tiny", "--model", "doodles"],
            "the model in exports/tiny is called tiny",
        ),
    ],
)
def test_what_cannot_be(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some.ndjson").write_bytes(qdfast.format_ndjson(drawings()))
    assert cli.main(["predict", str(tmp_path / "some.ndjson"), *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--metadata", "token"], ["--target", "a:1", "--model-dir", "b"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["predict", "some.ndjson", *arguments])
    assert "usage: qdfast predict" in capsys.readouterr().err


def test_how_many_labels_is_k_as_in_python() -> None:
    for k in (["-k", "2"], ["-k2"], ["--k", "2"], ["--k=2"]):
        a = parser().parse_args(["predict", "some.ndjson", *k])
        assert (a.k, a.key) == (2, None)


@pytest.mark.parametrize("arguments", [["--ke", "f"], ["--tim", "3"], ["--k", "0"]])
def test_options_have_no_abbreviations(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["predict", "some.ndjson", *arguments])
    assert "qdfast" in capsys.readouterr().err
