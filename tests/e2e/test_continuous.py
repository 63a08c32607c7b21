"""Continuous batching in a real worker: rows that come while others generate, and clients that leave."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.e2e.servers import Server, running_server, write_model

GENERATES = """
import time
class Generates:
    def initialize(self, context): context.cache = {}
    def handle(self, data, context):
        ids = list(context.request_ids.values())
        for name, row in zip(ids, data):
            context.cache.setdefault(name, row.get('body'))
        time.sleep(0.005)
        print('in the batch:', len(ids))
        for name in ids: context.cache[name] -= 1
        def stops(name):
            return lambda answer: context.cache[name] <= 0
        context.stopping_criteria = [stops(name) for name in ids]
        return [f'{context.cache[name]} ' for name in ids]
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\ncontinuousBatching: true\n"


def seen(server: Server, line: str) -> None:
    while not any(line in each for each in server.log):
        assert server.process.poll() is None


def test_a_short_row_does_not_wait_for_a_long_one_and_a_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", GENERATES, config=CONFIG)
    with running_server(archive, cache=tmp_path / "cache") as server:
        left = threading.Event()

        def long_one() -> None:
            with httpx.Client().stream("POST", f"{server.url}/predictions/m", json=1_000_000) as answer:
                chunks = answer.iter_text()
                next(chunks)
                left.wait()

        listening = threading.Thread(target=long_one)
        listening.start()
        seen(server, "in the batch: 1")
        with ThreadPoolExecutor(8) as pool:
            answers = [answer.text for answer in pool.map(server.predict, [3] * 8)]
        assert answers == ["2 1 0 "] * 8
        left.set()
        listening.join()
        assert any(predicted_alone(server) for _ in range(100)), "the row whose client left still generates"
        assert server.stop() == 0


def predicted_alone(server: Server) -> bool:
    """Whether nobody else was in the batch while a row took its steps."""
    before = len(server.log)
    assert server.predict(2).text == "1 0 "
    return not any("in the batch: 2" in line for line in server.log[before:])
