"""TLS credentials of the embedded server."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import grpc

from ..errors import DataError


def server_credentials(
    certificate: str | os.PathLike[str], key: str | os.PathLike[str], client_ca: str | os.PathLike[str] | None = None
) -> grpc.ServerCredentials:
    """Load and check the server's credentials.

    Args:
        certificate: PEM file of the certificate chain, beginning with the server's certificate.
        key: PEM file of the server's private key.
        client_ca: PEM file of authorities, one of which must have signed a client's certificate; None: clients need no
            certificate.

    Raises:
        DataError: a file cannot be read or is not PEM, or the key is encrypted or does not match the certificate.
    """
    # gRPC accepts any content, and then fails to listen without a reason.
    check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = f"{certificate}, {key}"
    try:
        pair = Path(key).read_bytes(), Path(certificate).read_bytes()
        check.load_cert_chain(certificate, key, password="")
        if client_ca is None:
            return grpc.ssl_server_credentials([pair])
        files = f"{client_ca}"
        authorities = Path(client_ca).read_bytes()
        check.load_verify_locations(client_ca)
    except OSError as e:  # ssl.SSLError is a subclass
        reason = getattr(e, "reason", None) or e.strerror or str(e)
        raise DataError(f"{files}: cannot be used for TLS: {reason}") from e
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=True)
