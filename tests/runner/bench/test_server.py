"""`archive serve` as the bench's child."""

from __future__ import annotations

import pytest

from runner.bench.server import NoServer, Server
from tests.e2e.servers import wait_until_gone, write_model

FAILING = """
class Failing:
    def initialize(self, context):
        raise RuntimeError("the weights are missing")
    def handle(self, data, context):
        return []
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path / "cache"))


def test_a_server_that_does_not_start_says_why_in_its_own_words(tmp_path):
    with pytest.raises(NoServer) as caught:
        Server(write_model(tmp_path / "m", FAILING), [])
    assert str(caught.value).startswith("the server did not start\n")
    assert "RuntimeError: the weights are missing" in str(caught.value)


def test_a_server_is_told_to_stop_and_does(tmp_path):
    model = write_model(tmp_path / "m", FAILING.replace("raise RuntimeError", "str"))
    with Server(model, ["--set", "batchSize=2"]) as server:
        assert server.target.path == "/predictions/m" and server.end_in_words() is None
    wait_until_gone(server.pid)
    assert server._process.returncode == 0
