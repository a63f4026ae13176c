"""The configuration of the client's gRPC channel: addresses, TLS, retries and keepalive."""

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
from ..protocol.errors import Unavailable

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
PREDICT = f"/{PREDICTION_SERVICE}/Predict"
GET_MODEL_METADATA = f"/{PREDICTION_SERVICE}/GetModelMetadata"
GET_MODEL_STATUS = f"/{MODEL_SERVICE}/GetModelStatus"

PEM = str | os.PathLike[str] | bytes
"""A PEM file, or its content."""

Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]


def _retries(service: str, attempts: int) -> dict[str, Any]:
    return {
        "name": [{"service": service}],
        "retryPolicy": {
            "maxAttempts": attempts,
            # The first retry is fast, since usually another server can answer. Five attempts wait 1.7 s in all, longer
            # than it takes to reconnect to a server that is back (max_reconnect_backoff_ms).
            "initialBackoff": "0.02s",
            "backoffMultiplier": 4,
            "maxBackoff": "2s",
            # A server that is stopping returns CANCELLED for calls that it has not started.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        },
    }


SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # gRPC allows five attempts at most. A status request should report quickly that there is no server; its second
    # attempt covers the case that one of several servers has just stopped.
    "methodConfig": [_retries(PREDICTION_SERVICE, 5), _retries(MODEL_SERVICE, 2)],
    # All clients of a process share these tokens: a failed attempt takes one, a response returns 0.1, and below half of
    # them there are no retries. The maximum allows all requests in flight to a server to fail at once, while servers
    # that reject a tenth of all requests for long are not flooded with retries.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
}

CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # By default gRPC does not retry requests larger than 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # The default limit of 4 MB applies to the receiving side; a response is bounded by its request anyway.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Reconnect to a server that is starting within a second; gRPC's default is two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Detect a server that vanished: what is sent must be acknowledged within 5 s. Pings are sent only during calls, and
    # never within 5 minutes, because gRPC's servers end the connection of a client that pings more often.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

_HOST_PORT = re.compile(r"(\[[0-9a-f:.%\w]+\]|[\w.-]+):(\d{1,5})", re.ASCII)
_METADATA_NAME = re.compile("[0-9a-z_.-]+")
_METADATA_VALUE = re.compile("[ -~]*")
_TARGET_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


@dataclass(frozen=True)
class ChannelConfig:
    """A gRPC target, channel options and, for TLS, credentials."""

    target: str
    options: tuple[tuple[str, Any], ...]
    credentials: grpc.ChannelCredentials | None

    def create_channel(self, module: Any) -> Any:
        """Create a channel with ``grpc`` or ``grpc.aio``."""
        if self.credentials is None:
            return module.insecure_channel(self.target, options=self.options)
        return module.secure_channel(self.target, self.credentials, options=self.options)


def target_list(target: object) -> list[str]:
    """Return the targets that ``Client`` was given.

    Raises:
        DataError: there is none, or one is not text.
    """
    given = list(target) if isinstance(target, Iterable) and not isinstance(target, str) else [target]
    targets = [t for t in given if isinstance(t, str)]
    if len(targets) < len(given):
        raise DataError(f"target is {target!r}: it must be text such as '127.0.0.1:8500', or a list of these")
    if not targets:
        raise DataError("target is an empty list: give at least one HOST:PORT")
    return targets


def channel_config(
    targets: Sequence[str],
    *,
    tls: bool = False,
    ca: PEM | None = None,
    certificate: PEM | None = None,
    key: PEM | None = None,
) -> ChannelConfig:
    """Configure a channel to ``targets``; ``Client`` documents the arguments.

    Raises:
        DataError: a target is malformed, a PEM is not in PEM format, or one of certificate and key is missing.
        Unavailable: a name among several targets cannot be resolved.
        OSError: a file cannot be read.
    """
    credentials = None
    if tls or ca or certificate or key:
        if (certificate is None) != (key is None):
            raise DataError("certificate and key must be given together")
        credentials = grpc.ssl_channel_credentials(_pem("ca", ca), _pem("key", key), _pem("certificate", certificate))
    if len(targets) == 1 and targets[0].startswith(_TARGET_SCHEMES) and targets[0].isprintable():
        return ChannelConfig(targets[0], CHANNEL_OPTIONS, credentials)
    endpoints = [_host_port(target) for target in targets]
    if len(endpoints) == 1:
        # gRPC resolves the name, again whenever a connection is lost, and rotates among all of its addresses.
        return ChannelConfig(targets[0], CHANNEL_OPTIONS, credentials)
    # All servers share one authority, which is also the name that TLS expects in their certificates.
    options = (*CHANNEL_OPTIONS, ("grpc.default_authority", targets[0]))
    return ChannelConfig(_multi_address_target(endpoints), options, credentials)


def _host_port(target: str) -> tuple[str, int]:
    match = _HOST_PORT.fullmatch(target)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        raise DataError(f"target is {target!r}: it must be HOST:PORT of the gRPC API, with an IPv6 address in brackets")
    return match[1].strip("[]"), int(match[2])


def _multi_address_target(endpoints: Iterable[tuple[str, int]]) -> str:
    """The gRPC target for several addresses. They must be of one family, so IPv4 is mapped into IPv6 if both occur."""
    resolved = dict.fromkeys((address, port) for host, port in endpoints for address in _resolve(host, port))
    if all(ip_address(address).version == 4 for address, _ in resolved):
        return "ipv4:" + ",".join(f"{address}:{port}" for address, port in resolved)
    mapped = ((a if ip_address(a).version == 6 else f"::ffff:{a}", port) for a, port in resolved)
    return "ipv6:" + ",".join(f"[{address}]:{port}" for address, port in mapped)


def _resolve(host: str, port: int) -> list[str]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise Unavailable(f"target {host}:{port} cannot be resolved: {reason}") from e
    return [str(sockaddr[0]) for *_, sockaddr in infos]


def _pem(name: str, pem: PEM | None) -> bytes | None:
    if pem is None:
        return None
    content = pem if isinstance(pem, bytes) else Path(pem).read_bytes()
    if b"-----BEGIN " not in content:
        source = "the bytes given" if isinstance(pem, bytes) else pem
        raise DataError(f"{name}: {source}: not in PEM format")
    return content


def validate_metadata(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """Return the pairs that gRPC expects.

    Raises:
        DataError: gRPC would reject a name or value. The message omits the value, which may be secret.
    """
    pairs = tuple(metadata.items() if isinstance(metadata, Mapping) else metadata)
    for name, value in pairs:
        if not _METADATA_NAME.fullmatch(name) or name.startswith("grpc-"):
            raise DataError(f"metadata {name!r}: a name consists of a-z, 0-9, - _ . and does not begin with grpc-")
        if name.endswith("-bin") != isinstance(value, bytes):
            raise DataError(f"metadata {name!r}: the value must be bytes if the name ends in -bin, else str")
        if isinstance(value, str) and not _METADATA_VALUE.fullmatch(value):
            raise DataError(f"metadata {name!r}: the value must be printable ASCII")
    return pairs
