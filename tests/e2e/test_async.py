"""Asynchronous handlers in real workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.servers import running_server, write_model

HANDLER = """
import asyncio, os
present = []
class Meets:
    async def handle(self, data, context):
        name = data[0]['body']
        if name == 'die': os._exit(1)
        present.append(name)
        while len(present) < 3: await asyncio.sleep(0.001)
        return [' '.join(sorted(present))]
"""
STREAMS = """
async def tokens(n):
    for i in range(n): yield f'{i} '
async def handle(data, context): return data and [tokens(row['body']) for row in data]
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\nasyncCommunication: true\n"


def test_requests_meet_inside_one_worker(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", HANDLER, config=CONFIG)
    with running_server(archive, cache=tmp_path / "cache") as server, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda name: server.predict(name).text, ["a", "b", "c"]))
    assert answers == ["a b c"] * 3


def test_a_row_that_kills_is_told_and_those_beside_it_are_answered(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", HANDLER.replace("< 3", "< 1"), config=CONFIG)
    with running_server(archive, cache=tmp_path / "cache") as server, ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda name: server.predict(name).status_code, ["a", "die", "b", "c"]))
    assert statuses == [200, 500, 200, 200]


def test_asynchronous_generators_stream(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", STREAMS, config=CONFIG)
    with running_server(archive, cache=tmp_path / "cache") as server:
        answer = server.predict(3)
    assert "content-length" not in answer.headers
    assert answer.text == "0 1 2 "
