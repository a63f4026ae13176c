"""The embedded server behind TLS: who may ask, and files that are no certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
import tiny_model
from certificates import Certificates
from scripted_server import TIMEOUT, drawings, predict_call

from qdfast.errors import DataError
from qdfast.protocol import messages

pytest.importorskip("tensorflow_serving")
from qdfast.serve.server import Server
from qdfast.serve.tls import server_credentials

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "tiny"
    path.mkdir()
    tiny_model.write_model(path, 1)
    return path


def ask(server: Server, credentials: grpc.ChannelCredentials | None) -> Any:
    """The answer to a request, or the status of the failure."""
    target = f"127.0.0.1:{server.port}"
    deltas, lengths = drawings([5]).deltas(dtype="int16")
    request = messages.predict_request("tiny", None, "top_k", {"deltas": deltas, "lengths": lengths})
    channel = grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
    with channel:
        try:
            return messages.predict_outputs(predict_call(channel)(request, timeout=TIMEOUT))["scores"].shape
        except grpc.RpcError as e:
            return e.code().name


def trusting(ca: Path, pair: tuple[Path, Path] | None = None) -> grpc.ChannelCredentials:
    certificate, key = (p.read_bytes() for p in pair) if pair else (None, None)
    return grpc.ssl_channel_credentials(ca.read_bytes(), key, certificate)


ANSWERED = (1, tiny_model.K)


def test_who_trusts_the_authority_is_answered(pems: Certificates, model_dir: Path) -> None:
    with Server(model_dir, credentials=server_credentials(*pems.server)) as server:
        assert ask(server, trusting(pems.ca)) == ANSWERED
        assert ask(server, trusting(pems.other_ca)) == "UNAVAILABLE"
        assert ask(server, None) == "UNAVAILABLE"


def test_who_has_no_certificate_gets_nothing_where_one_is_asked_for(pems: Certificates, model_dir: Path) -> None:
    with Server(model_dir, credentials=server_credentials(*pems.server, pems.ca)) as server:
        assert ask(server, trusting(pems.ca, pems.client)) == ANSWERED
        assert ask(server, trusting(pems.ca)) == "UNAVAILABLE"
        assert ask(server, trusting(pems.other_ca, pems.client)) == "UNAVAILABLE"
    with Server(model_dir, credentials=server_credentials(*pems.server, pems.other_ca)) as server:
        assert ask(server, trusting(pems.ca, pems.client)) == "UNAVAILABLE"


def test_files_that_are_no_certificates(pems: Certificates, tmp_path: Path) -> None:
    certificate, key = pems.server
    (tmp_path / "nonsense").write_text("nonsense")
    for wrong in (
        (tmp_path / "missing", key),
        (certificate, tmp_path / "nonsense"),
        (certificate, pems.client[1]),
        (certificate, key, tmp_path / "nonsense"),
        (certificate, key, tmp_path / "missing"),
    ):
        with pytest.raises(DataError, match="cannot be used for TLS: ") as e:
            server_credentials(*wrong)
        assert "\n" not in str(e.value)
