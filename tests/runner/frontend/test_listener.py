"""Addresses that are listened on, and what is served where."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from archiver.errors import ServeFailed
from runner.frontend.app import App
from runner.frontend.cors import Cors
from runner.frontend.health import Health
from runner.frontend.listener import EVERYTHING, Address, Certificate, Listener, Surface, check, merged
from runner.metrics import Metrics
from runner.pool.registry import Registry
from tests.e2e.servers import make_certificate
from tests.runner.frontend.apps import actions_on, deploy
from tests.runner.loops import in_loop

PAGES = ("/predictions/m", "/v2", "/models", "/metrics", "/v1/models/m", "/livez", "/openapi.json")


def client(surfaces: frozenset[Surface] = EVERYTHING, cors: Cors | None = None) -> httpx.AsyncClient:
    registry, metrics = Registry(), Metrics()
    deploy(registry, metrics)
    app = App(registry, metrics, Health(registry), 1000, actions_on(registry), None, surfaces, cors)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@in_loop
async def test_each_surface_serves_its_own_routes_and_health() -> None:
    served = {}
    for surface in Surface:
        async with client(frozenset({surface})) as http:
            served[surface.value] = [page for page in PAGES if (await http.get(page)).status_code == 200]
    assert served == {
        "inference": ["/predictions/m", "/v2", "/v1/models/m", "/livez", "/openapi.json"],
        "management": ["/models", "/v1/models/m", "/livez", "/openapi.json"],
        "metrics": ["/metrics", "/livez", "/openapi.json"],
    }


@in_loop
async def test_pages_of_allowed_origins_may_read_answers() -> None:
    rules = Cors(["https://a.org"], ["GET", "POST"], [])
    async with client(cors=rules) as http:
        allowed = await http.post("/predictions/m", headers={"Origin": "https://a.org"})
        refused = await http.post("/predictions/m", headers={"Origin": "https://b.org"})
        asks = {"Origin": "https://a.org", "Access-Control-Request-Method": "POST"}
        preflight = await http.options("/predictions/m", headers=asks)
    assert allowed.headers["access-control-allow-origin"] == "https://a.org"
    assert "access-control-allow-origin" not in refused.headers
    assert (preflight.status_code, preflight.headers["access-control-allow-methods"]) == (200, "GET, POST")


def test_free_ports_are_never_the_same_address() -> None:
    free, fixed = Address("127.0.0.1", 0), Address("127.0.0.1", 80)
    assert len(merged([(free, Surface.INFERENCE), (free, Surface.METRICS)])) == 2
    assert len(merged([(fixed, Surface.INFERENCE), (fixed, Surface.METRICS)])) == 1


def test_port_zero_becomes_the_port_that_was_given() -> None:
    listener = Listener(Address("127.0.0.1", 0))
    assert (listener.address.port > 0, listener.address.is_local) == (True, True)
    with pytest.raises(ServeFailed, match="is taken by another program"):
        Listener(listener.address)
    listener.close()


def test_a_socket_that_a_killed_server_left_behind_is_taken_over_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    listener = Listener(Address(path=str(path)))
    assert listener.address.is_local
    with pytest.raises(ServeFailed, match="cannot listen on unix:"):
        Listener(Address(path=str(path)))
    listener.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ServeFailed, match="cannot listen on unix:"):
        Listener(Address(path=str(tmp_path / "s")))
    assert (tmp_path / "s").read_text() == "mine"


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def test_a_key_with_a_passphrase_is_refused_instead_of_asked_for(tmp_path: Path) -> None:
    file, key = make_certificate(tmp_path)
    locked = tmp_path / "locked.pem"
    openssl("ec", "-in", key, "-aes128", "-passout", "pass:word", "-out", locked)
    with pytest.raises(ServeFailed, match="has a passphrase") as caught:
        check(Certificate(file, locked))
    assert caught.value.hint == f"openssl pkey -in {locked} -out FILE"


def test_a_certificate_with_another_ones_key_is_refused(tmp_path: Path) -> None:
    file, _ = make_certificate(tmp_path)
    other = tmp_path / "other.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", other)
    with pytest.raises(ServeFailed, match="cannot be used for TLS: the key is another certificate's"):
        check(Certificate(file, other))


def test_what_is_no_pem_and_what_is_not_there_is_told(tmp_path: Path) -> None:
    file, key = make_certificate(tmp_path)
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(ServeFailed, match="both files must be PEM"):
        check(Certificate(tmp_path / "junk", key))
    with pytest.raises(ServeFailed, match="cannot read the certificate or its key: No such file"):
        check(Certificate(file, tmp_path / "none"))
