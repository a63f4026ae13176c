"""How the client connects: what both kinds of gRPC channel, blocking and asyncio, are made from."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc

from ..errors import DataError
from ..protocol.requests import Unavailable

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
PREDICT = f"/{PREDICTION_SERVICE}/Predict"
GET_MODEL_METADATA = f"/{PREDICTION_SERVICE}/GetModelMetadata"
GET_MODEL_STATUS = f"/{MODEL_SERVICE}/GetModelStatus"

PEM = str | os.PathLike[str] | bytes
"""A file, or what is in it."""

Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]


def _retries(service: str, attempts: int) -> dict[str, Any]:
    return {
        "name": [{"service": service}],
        "retryPolicy": {
            "maxAttempts": attempts,
            # Fast at first: most often another server has the answer. With five attempts it waits 1.7 s in all, which
            # is longer than it takes to find a server that is back (max_reconnect_backoff_ms).
            "initialBackoff": "0.02s",
            "backoffMultiplier": 4,
            "maxBackoff": "2s",
            # CANCELLED, where it was not this side that cancelled, comes from a server that stops, for calls not begun.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        },
    }


SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # gRPC makes five attempts at most. Who asks for a model's status wants to know that there is no server: the second
    # attempt is for the one of several that has just gone.
    "methodConfig": [_retries(PREDICTION_SERVICE, 5), _retries(MODEL_SERVICE, 2)],
    # All clients of a process share these tokens: a failed attempt takes one, an answer gives 0.1, and below half there
    # are no retries. With the largest number allowed, all that was in flight to a server may fail at once; but servers
    # that refuse a tenth of everything for long are not asked again and again.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
}

OPTIONS = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # Else what is larger than 256 KiB is sent once and for all.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # gRPC's own limit of 4 MB is the client's to lift; the answer to one request is bounded by what it asked.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that is starting is found within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A server that vanished without a word is found out when what was sent to it has not been acknowledged for 5 s.
    # Pings go out only while a call waits, and seldom: servers end the connections of those who ping more.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

_HOST_PORT = re.compile(r"(\[[0-9a-f:.%\w]+\]|[\w.-]+):(\d{1,5})", re.ASCII)
_KEY = re.compile("[0-9a-z_.-]+")
_VALUE = re.compile("[ -~]*")
_OTHER_TARGETS = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


@dataclass(frozen=True)
class Connection:
    """A gRPC target, channel options and, for TLS, credentials."""

    target: str
    options: tuple[tuple[str, Any], ...]
    credentials: grpc.ChannelCredentials | None

    def open(self, kind: Any) -> Any:
        """A channel: of ``grpc``, or of ``grpc.aio``."""
        if self.credentials is None:
            return kind.insecure_channel(self.target, options=self.options)
        return kind.secure_channel(self.target, self.credentials, options=self.options)


def connection(
    targets: Sequence[str],
    *,
    tls: bool = False,
    ca: PEM | None = None,
    certificate: PEM | None = None,
    key: PEM | None = None,
) -> Connection:
    """How to reach any of ``targets``; the arguments are those of ``Client``.

    Raises:
        DataError: a target of another form, or what is no PEM, or a certificate without its key.
        Unavailable: a name among several targets cannot be resolved.
        OSError: a file that cannot be read.
    """
    credentials = None
    if tls or ca or certificate or key:
        if (certificate is None) != (key is None):
            raise DataError("certificate and key: one is of no use without the other")
        credentials = grpc.ssl_channel_credentials(_pem("ca", ca), _pem("key", key), _pem("certificate", certificate))
    if len(targets) == 1 and targets[0].startswith(_OTHER_TARGETS) and targets[0].isprintable():
        return Connection(targets[0], OPTIONS, credentials)
    places = [_host_port(target) for target in targets]
    if len(places) == 1:
        # gRPC resolves a name itself, again whenever a connection is lost, and asks all of its addresses in turn.
        return Connection(targets[0], OPTIONS, credentials)
    # There is one authority for all, which is also the name that TLS looks for in a certificate.
    return Connection(_resolved(places), (*OPTIONS, ("grpc.default_authority", targets[0])), credentials)


def _host_port(target: str) -> tuple[str, int]:
    match = _HOST_PORT.fullmatch(target)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        raise DataError(f"target is {target!r}: it must be HOST:PORT of the gRPC API, an IPv6 address in brackets")
    return match[1].strip("[]"), int(match[2])


def _resolved(places: Iterable[tuple[str, int]]) -> str:
    """gRPC's target for several addresses, which must be of one family: beside IPv6 ones, IPv4 is mapped into that."""
    found = dict.fromkeys((address, port) for host, port in places for address in _addresses(host, port))
    if all(ip_address(address).version == 4 for address, _ in found):
        return "ipv4:" + ",".join(f"{address}:{port}" for address, port in found)
    mapped = ((address if ip_address(address).version == 6 else f"::ffff:{address}", port) for address, port in found)
    return "ipv6:" + ",".join(f"[{address}]:{port}" for address, port in mapped)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise Unavailable(f"target {host}:{port} cannot be resolved: {reason}") from e
    return [str(where[0]) for *_, where in found]


def _pem(name: str, given: PEM | None) -> bytes | None:
    if given is None:
        return None
    content = given if isinstance(given, bytes) else Path(given).read_bytes()
    if b"-----BEGIN " not in content:
        shown = "the bytes given" if isinstance(given, bytes) else given
        raise DataError(f"{name}: {shown}: not in PEM format")
    return content


def checked_metadata(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """Pairs as gRPC takes them. DataError: it would not; values may be secrets, and are not in the message."""
    pairs = tuple(metadata.items() if isinstance(metadata, Mapping) else metadata)
    for name, value in pairs:
        if not _KEY.fullmatch(name) or name.startswith("grpc-"):
            raise DataError(f"metadata {name!r}: names are of a-z, 0-9, - _ and ., and do not begin with grpc-")
        if name.endswith("-bin") != isinstance(value, bytes):
            raise DataError(f"metadata {name!r}: the value is bytes where the name ends in -bin, else str")
        if isinstance(value, str) and not _VALUE.fullmatch(value):
            raise DataError(f"metadata {name!r}: the value is not printable ASCII")
    return pairs
