"""JSON that is nested as deeply as a body allows: 400 on every route, by a server and a worker that live on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.servers import Server, running_server, write_model

ECHO = "def handle(data, ctx): return data and [row.get('body', row.get('data')) for row in data]\n"
ROUTES = ["/predictions/m", "/v1/models/m:predict", "/v2/models/m/infer", "/invocations", "/m/predict"]
SHAPES = {"lists": (b"[", b"]"), "mappings": (b'{"a":', b"}"), "open lists": (b"[", b"")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("deep")
    with running_server(write_model(home / "m", ECHO), cache=home / "cache") as running:
        yield running


def post(server: Server, route: str, body: bytes) -> int:
    return server.client.post(route, content=body, headers={"content-type": "application/json"}).status_code


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", SHAPES)
def test_deep_json_is_400_and_ends_nobody(server: Server, route: str, shape: str) -> None:
    workers = server.workers()
    opening, closing = SHAPES[shape]
    for depth in (20_000, 2_000_000):
        assert post(server, route, opening * depth + b"1" + closing * depth) == 400
    assert server.predict([1]).json() == [1]
    assert server.workers() == workers


def test_registering_with_deep_json_is_400(server: Server) -> None:
    for opening, closing in SHAPES.values():
        assert post(server, "/models", opening * 5_000 + b"1" + closing * 5_000) == 400


def test_what_a_worker_can_read_it_answers_or_refuses_without_ending(server: Server) -> None:
    workers = server.workers()
    for depth in (100, 500, 900, 990, 1_000, 1_500):
        assert post(server, "/predictions/m", b"[" * depth + b"]" * depth) in (200, 400, 503)
    assert server.workers() == workers
