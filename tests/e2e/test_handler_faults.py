"""Handlers that misbehave while serving: one server, one model per kind, all at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.servers import Server, running_server, write_model

PRELUDE = "import os, sys, time\ndef rows(data): return [r.get('body') or r.get('data') for r in data]\n"

HANDLERS = {
    "echo": "def handle(data, ctx): return data and [r.get('body') for r in data]",
    "badrow": """
def handle(data, ctx):
    if data is None: return None
    if any(x == 'bad' for x in rows(data)): raise ValueError('a bad row')
    return [f'ok {x}' for x in rows(data)]
""",
    "short": "def handle(data, ctx): return data and rows(data)[:-1]",
    "nolist": "def handle(data, ctx): return data and 'text'",
    "unserialisable": """
def handle(data, ctx): return data and [object() if x == 'bad' else x for x in rows(data)]
""",
    "prints": """
def handle(data, ctx):
    if data is None: return None
    print('hello from the handler'); sys.stdout.write('\\x00\\x01 half a line'); os.write(1, b'raw bytes \\xff')
    return rows(data)
""",
    "exits": """
def handle(data, ctx):
    if data is None: return None
    if 'bad' in rows(data): sys.exit(3)
    return rows(data)
""",
    "dies": """
def handle(data, ctx):
    if data is None: return None
    if 'bad' in rows(data): os.kill(os.getpid(), 11)
    return rows(data)
""",
    "hangs": """
def handle(data, ctx):
    if data is None: return None
    while 'bad' in rows(data): time.sleep(0.1)
    return rows(data)
""",
    "prediction": """
from ts.utils.util import PredictionException
def handle(data, ctx):
    if data is None: return None
    if 'bad' in rows(data): raise PredictionException('please do not', 418)
    return rows(data)
""",
}
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\nbatchPolicy: delay\nmaxBatchDelay: 50\nresponseTimeout: {}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("faults")
    folders = []
    for name, source in HANDLERS.items():
        config = CONFIG.format(1 if name == "hangs" else 60)
        folders.append(write_model(home / name, PRELUDE + source, name=name, config=config))
    with running_server(*folders, cache=home / "cache") as running:
        yield running


def together(server: Server, model: str, bodies: list[str]) -> list[tuple[int, str]]:
    """All bodies at the same moment, so that they share a batch."""
    barrier = threading.Barrier(len(bodies))

    def send(body: str) -> tuple[int, str]:
        barrier.wait()
        response = server.predict(body, model=model)
        return response.status_code, response.text

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(send, bodies))


EIGHT = ["a", "b", "c", "bad", "e", "f", "g", "h"]


def test_a_row_that_raises_fails_alone_among_eight(server: Server) -> None:
    answers = together(server, "badrow", EIGHT)
    assert [status for status, _ in answers] == [200, 200, 200, 503, 200, 200, 200, 200]
    assert json.loads(answers[3][1])["message"] == "Prediction failed"
    assert answers[0][1] == "ok a"


def test_a_row_that_cannot_be_serialised_fails_alone(server: Server) -> None:
    statuses = [status for status, _ in together(server, "unserialisable", EIGHT)]
    assert statuses == [200, 200, 200, 503, 200, 200, 200, 200]


def test_a_result_of_the_wrong_length_is_told(server: Server) -> None:
    response = server.predict("x", model="short")
    assert (response.status_code, response.json()["message"]) == (503, "number of batch response mismatched")


def test_a_result_that_is_no_list_is_told(server: Server) -> None:
    response = server.predict("x", model="nolist")
    assert (response.status_code, response.json()["message"]) == (503, "Invalid model predict output")


def test_a_handler_may_print_what_it_likes(server: Server) -> None:
    assert server.predict("x", model="prints").text == "x"
    assert server.predict("y", model="prints").text == "y"
    assert any("hello from the handler" in line for line in server.log)


def test_sys_exit_on_one_row_costs_only_that_row(server: Server) -> None:
    statuses = [status for status, _ in together(server, "exits", EIGHT)]
    assert statuses[3] >= 500
    assert statuses[:3] + statuses[4:] == [200] * 7


def test_a_row_that_kills_its_worker_is_answered_500_and_its_neighbours_200(server: Server) -> None:
    answers = together(server, "dies", EIGHT)
    assert [status for status, _ in answers] == [200, 200, 200, 500, 200, 200, 200, 200]
    assert "ended two workers" in json.loads(answers[3][1])["message"]


def test_a_row_that_hangs_is_answered_504_and_its_neighbours_200(server: Server) -> None:
    answers = together(server, "hangs", EIGHT)
    assert [status for status, _ in answers] == [200, 200, 200, 504, 200, 200, 200, 200]


def test_a_prediction_exception_chooses_status_and_message(server: Server) -> None:
    response = server.predict("bad", model="prediction")
    assert (response.status_code, response.json()["message"]) == (418, "please do not")


def test_malformed_json_is_400_and_fails_alone(server: Server) -> None:
    response = server.predict(b'{"x": [1, 2, ', model="echo", **{"content-type": "application/json"})
    assert response.status_code == 400
    assert server.predict({"x": 1}, model="echo").json() == {"x": 1}


def test_after_all_of_this_every_model_still_answers(server: Server) -> None:
    for model in ("echo", "badrow", "unserialisable", "prints", "exits", "dies", "hangs"):
        assert server.predict("fine", model=model).status_code == 200
