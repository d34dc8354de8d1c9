"""A certificate for localhost, made once for a run."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make(directory: Path) -> tuple[Path, Path]:
    """Makes a self-signed certificate and its key."""
    certificate, key = directory / "localhost.crt", directory / "localhost.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return certificate, key
