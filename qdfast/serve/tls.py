"""Certificates of the embedded server."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import grpc

from ..errors import DataError


def server_credentials(
    certificate: str | os.PathLike[str], key: str | os.PathLike[str], client_ca: str | os.PathLike[str] | None = None
) -> grpc.ServerCredentials:
    """Credentials to listen with.

    Args:
        certificate, key: PEM files: the chain from the server's own certificate on, and its private key.
        client_ca: PEM file of authorities, one of which must have signed a client's certificate; None asks clients for
            none.

    Raises:
        DataError: a file cannot be read, is not PEM, or the key is encrypted or not the certificate's.
    """
    # gRPC takes anything, and then cannot listen without saying why.
    check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    looked_at = f"{certificate}, {key}"
    try:
        pair = Path(key).read_bytes(), Path(certificate).read_bytes()
        check.load_cert_chain(certificate, key, password="")
        if client_ca is None:
            return grpc.ssl_server_credentials([pair])
        looked_at = f"{client_ca}"
        authorities = Path(client_ca).read_bytes()
        check.load_verify_locations(client_ca)
    except OSError as e:  # ssl.SSLError is one
        reason = getattr(e, "reason", None) or e.strerror or str(e)
        raise DataError(f"{looked_at}: cannot be used for TLS: {reason}") from e
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=True)
