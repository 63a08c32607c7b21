"""`--tls-cert` and `--tls-key`: TLS at every address, 1.2 and later, or no server."""

from __future__ import annotations

import ssl
import subprocess
import sys
import warnings
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import archive_command, environment, make_certificate, write_model

ECHO = "def handle(data, ctx): return data and ['here' for _ in data]\n"


def test_every_address_speaks_tls_from_1_2_on(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    model = str(write_model(tmp_path / "m", ECHO))
    tls = ["--tls-cert", str(cert), "--tls-key", str(key)]
    command = [sys.executable, "-m", "archiver", "serve", model, "--port", "0", *tls]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[1]
            assert url.startswith("https://127.0.0.1:")
            assert httpx.post(url, content=b"x", verify=spoken(cert)).text == "here"
            with pytest.raises(httpx.ConnectError, match=r"ALERT_PROTOCOL_VERSION|alert protocol version|EOF"):
                httpx.post(url, content=b"x", verify=spoken(cert, ssl.TLSVersion.TLSv1_1))
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.post(url.replace("https:", "http:"), content=b"x")
        finally:
            server.kill()


def spoken(cert: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """A client of that version alone."""
    context = ssl.create_default_context(cafile=str(cert))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else it would not even ask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    return context


def test_a_certificate_comes_with_its_key(tmp_path: Path) -> None:
    cert, _ = make_certificate(tmp_path)
    done = archive_command("serve", str(write_model(tmp_path / "m", ECHO)), "--tls-cert", str(cert))
    assert (done.returncode, "hint: --tls-cert FILE --tls-key FILE" in done.stderr) == (2, True)
