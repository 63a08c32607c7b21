"""Stateful sequences over real workers: sums that are right, a worker that dies, ids and ends."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.servers import Server, running_server, write_model

SUMS = """
import os
class Sums:
    def initialize(self, context): context.cache = {}
    def handle(self, data, context):
        answers = []
        for number, row in enumerate(data):
            name = context.get_sequence_id(number)
            if context.get_request_header(number, context.header_key_sequence_start) == 'true':
                context.cache[name] = 0
            context.cache[name] = context.cache.get(name, 0) + row['body']
            answers.append({'sum': context.cache[name], 'pid': os.getpid()})
        return answers
"""
CONFIG = (
    "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nsequenceBatching: true\nsequenceMaxIdleMSec: 60000\n"
    "maxSequenceJobQueueSize: 5\nmaxNumSequence: 50\n"
)


def add(server: Server, name: str, number: int, **flags: str) -> tuple[int, dict[str, int]]:
    headers = {f"ts_request_sequence_{key}": value for key, value in {"id": name, **flags}.items()}
    answer = server.predict(number, **headers)
    return answer.status_code, answer.json()


def whole(server: Server, name: str) -> tuple[list[int], set[int]]:
    """A sequence of ten requests: its sums, and the workers that it met."""
    answers = [
        add(server, name, n, start="true" if n == 0 else "false", end="true" if n == 9 else "false")
        for n in range(10)
    ]
    return [body["sum"] for _, body in answers], {body["pid"] for _, body in answers}


def test_many_sequences_beside_each_other_keep_their_state_and_their_worker(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", SUMS, config=CONFIG)
    with running_server(archive, cache=tmp_path / "cache") as server, ThreadPoolExecutor(12) as pool:
        results = list(pool.map(lambda number: whole(server, f"s{number}"), range(24)))
        assert all(sums == [0, 1, 3, 6, 10, 15, 21, 28, 36, 45] for sums, _ in results)
        assert all(len(pids) == 1 for _, pids in results)
        assert {pid for _, pids in results for pid in pids} == set(server.workers())


def test_a_sequence_whose_worker_dies_is_told_once_and_others_go_on(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", SUMS, config=CONFIG)
    with running_server(archive, cache=tmp_path / "cache") as server:
        homes = {name: add(server, name, 1)[1]["pid"] for name in ("a", "b")}
        assert len(set(homes.values())) == 2, "two lone sequences went to one worker"
        os.kill(homes["a"], signal.SIGKILL)
        while homes["a"] in server.workers():
            pass
        status, told = add(server, "a", 1)
        assert (status, "start the sequence anew" in told["message"]) == (503, True)
        assert add(server, "b", 1) == (200, {"sum": 2, "pid": homes["b"]})
        assert add(server, "a", 1)[1]["sum"] == 1


def test_a_sequence_that_starts_without_an_id_is_given_one(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", SUMS, config=CONFIG)
    with running_server(archive, cache=tmp_path / "cache") as server:
        answer = server.predict(5, ts_request_sequence_start="true")
        name = answer.headers["ts_request_sequence_id"]
        assert add(server, name, 6)[1]["sum"] == 11
