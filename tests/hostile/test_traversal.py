"""Paths that climb: in every place of the HTTP surface where a client names something, plain and encoded."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import Server, running_server, write_model
from tests.e2e.test_serving import ECHO

SECRET = "content of a file outside"
#: `{up}` climbs to the folder that holds the store, the cache and the secret.
CLIMBS = ("../secret.mar", "..%2fsecret.mar", "%2e%2e/secret.mar", "%2e%2e%2fsecret.mar", "..%5csecret.mar")
CLIMBS += (
    "x/../../secret.mar",
    "%252e%252e%252fsecret.mar",
    "..%c0%afsecret.mar",
    ".../secret.mar",
    "%00/secret.mar",
)
#: Method and path; `*` is where a client names something.
PLACES = [
    ("POST", "/predictions/*"),
    ("POST", "/predictions/m/*"),
    ("POST", "/predictions/m/1.0/*"),
    ("POST", "/explanations/*"),
    ("POST", "/*/predict"),
    ("POST", "/invocations?model_name=*"),
    ("POST", "/models/*/invoke"),
    ("GET", "/models/*"),
    ("GET", "/models/m/*"),
    ("PUT", "/models/*"),
    ("PUT", "/models/m/*/set-default"),
    ("DELETE", "/models/*"),
    ("POST", "/models?url=*"),
    ("POST", "/models?url=m2&model_name=*%2f"),
    ("GET", "/workflows/*"),
    ("POST", "/workflows?url=*"),
    ("DELETE", "/workflows/*"),
    ("POST", "/wfpredict/*"),
    ("GET", "/v1/models/*"),
    ("POST", "/v1/models/*:predict"),
    ("GET", "/v2/models/*"),
    ("GET", "/v2/models/m/versions/*/ready"),
    ("POST", "/v2/models/*/infer"),
    ("GET", "/openapi.json/*"),
    ("GET", "/metrics/*"),
    ("GET", "/*"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("climb")
    (folder / "secret.mar").write_text(SECRET)
    (folder / "secret.mar.py").write_text(f"raise ImportError({SECRET!r})\n")
    model = write_model(folder / "store" / "m", ECHO)
    write_model(folder / "store" / "m2", ECHO, name="m2")
    options = ("--model-store", folder / "store", "--workflow-store", folder / "store")
    with running_server(model, *options, cache=folder / "cache") as running:
        yield running


def _ask(server: Server, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, str]:
    """The path as it is: clients that are any good would clean it up."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    headers = {"content-type": kind} if kind else {}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize(("method", "place"), PLACES, ids=[f"{method} {place}" for method, place in PLACES])
def test_nothing_outside_is_found(server: Server, method: str, place: str) -> None:
    for climb in CLIMBS:
        status, text = _ask(server, method, place.replace("*", climb))
        if not place.startswith("/predictions/m/1.0/"):  # what follows there is the handler's
            assert 400 <= status < 500, (climb, status, text)
        assert SECRET not in text, climb
    assert server.predict(b"x").status_code == 200


@pytest.mark.parametrize("url", ["../secret.mar", "/etc/passwd", "m/../../secret.mar", "\0", "file:///etc/passwd"])
@pytest.mark.parametrize("place", ["/models", "/workflows"])
def test_nor_by_a_json_body(server: Server, place: str, url: str) -> None:
    status, text = _ask(server, "POST", place, json.dumps({"url": url}).encode(), "application/json")
    assert status in (400, 404) and SECRET not in text and "root:" not in text


def test_a_handler_outside_of_the_archive_is_not_loaded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for handler in (str(tmp_path / "evil"), f"{tmp_path}/evil.py:handle", "../../secret.mar", "..\\evil"):
        status, text = _ask(
            server, "POST", "/models", json.dumps({"url": "m2", "handler": handler}).encode(), "application/json"
        )
        assert status == 400 and "Parameter handler names nothing inside" in text
    assert not (tmp_path / "ran").exists()
