"""Certificates for tests of TLS, made by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificates(NamedTuple):
    """PEM files: two authorities, and pairs of a certificate and its key. The stranger's is by the other authority."""

    ca: Path
    other_ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]
    stranger: tuple[Path, Path]


def write_certificates(directory: Path) -> Certificates:
    """Write ``….pem`` and ``….key`` of each into ``directory``, all for localhost and 127.0.0.1.

    Skips where there is no openssl.
    """
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH")

    def openssl(arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True, cwd=directory)

    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for ca in ("ca", "other"):
        openssl(f"req -x509 -days 2 {new_key} -keyout {ca}.key -out {ca}.pem -subj /CN={ca}")
    by = {"server": "ca", "client": "ca", "stranger": "other"}
    for name, ca in by.items():
        openssl(f"req {new_key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        signed = f"-CA {ca}.pem -CAkey {ca}.key -CAcreateserial"
        openssl(f"x509 -req -days 2 {signed} -extfile names -in {name}.csr -out {name}.pem")
    pairs = ((directory / f"{name}.pem", directory / f"{name}.key") for name in by)
    return Certificates(directory / "ca.pem", directory / "other.pem", *pairs)
