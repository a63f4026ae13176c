"""Certificates for tests of TLS, made by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path


def write_certificates(directory: Path) -> None:
    """``ca.pem`` and ``other.pem`` are authorities; ``server.pem`` and ``client.pem``, with keys ``….key``, are by the
    first, ``stranger.pem`` is by the second. All are for localhost and 127.0.0.1.
    """

    def openssl(arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True, cwd=directory)

    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for ca in ("ca", "other"):
        openssl(f"req -x509 -days 2 {new_key} -keyout {ca}.key -out {ca}.pem -subj /CN={ca}")
    for name, ca in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        openssl(f"req {new_key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        by = f"-CA {ca}.pem -CAkey {ca}.key -CAcreateserial"
        openssl(f"x509 -req -days 2 {by} -extfile names -in {name}.csr -out {name}.pem")
