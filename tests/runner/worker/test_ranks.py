"""Ranks of one worker, without processes: rank 0's view over sockets, the other side played by the test."""

from __future__ import annotations

import os
import queue
import socket
import threading
from contextlib import suppress

import pytest
from msgspec import structs

from runner import wire
from runner.worker import ranks as room
from runner.worker.channel import Channel
from runner.worker.ranks import Follower, Ranks, enter, outcome
from runner.worker.session import LoadError, Session
from tests.runner.worker.sessions import make_load

ROW = wire.Row("r", [("body", "", b"x")], b"")


def raised(batch, kind="ValueError"):
    return wire.Raised(batch, 503, kind, "Prediction failed", ["ValueError: told to fail"])


class Worker:
    """Rank 0 with one other rank, which is `other`; `told` is what the front end hears."""

    def __init__(self, load):
        ours, theirs = socket.socketpair()
        self.told = queue.Queue()
        self.ranks = Ranks([Follower(1, 0, ours)], self.told.put)
        self.other = Channel(theirs)
        self.load = self.ranks.begin(load)
        self.sockets = (ours, theirs)

    def close(self):
        with suppress(OSError):
            self.sockets[1].shutdown(socket.SHUT_RDWR)
        # Nothing of this worker may end the process once that is real again.
        for thread in threading.enumerate():
            if thread.name == "rank-1" or isinstance(thread, threading.Timer):
                thread.join()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def endings(monkeypatch):
    """Exit statuses of this process, had it ended."""
    statuses = queue.Queue()
    monkeypatch.setattr(room.os, "_exit", statuses.put)
    monkeypatch.setattr(room.os, "waitpid", lambda pid, _: (pid, 9))
    return statuses


@pytest.fixture
def worker(tmp_path, endings, monkeypatch):
    monkeypatch.setattr(room, "_APART", 0.05)
    worker = Worker(structs.replace(make_load(tmp_path), world=2))
    yield worker
    worker.close()


def test_every_rank_loads_the_same_and_knows_which_it_is(worker):
    theirs = worker.other.receive()

    assert (worker.load.rank, worker.load.world, theirs.rank, theirs.world) == (0, 2, 1, 2)
    assert worker.load.port == theirs.port > 0
    assert structs.replace(theirs, rank=0) == worker.load


def test_a_worker_is_loaded_when_all_its_ranks_are(worker):
    worker.other.send(wire.Loaded(0.1, {}, 1000))

    assert worker.ranks.wait_until_loaded() == 1000


def test_a_rank_that_cannot_load_is_the_workers_failure(worker, endings):
    worker.other.send(wire.LoadFailed("ValueError", "no such file", ["trace"]))

    assert endings.get(timeout=5) == 1
    assert worker.told.get_nowait() == wire.LoadFailed("ValueError", "rank 1: no such file", ["trace"])
    worker.ranks.load_failed(wire.LoadFailed("ValueError", "mine, too", []))
    assert worker.told.empty()


def test_a_rank_that_dies_takes_the_worker_with_it(worker, endings, caplog):
    worker.sockets[1].shutdown(socket.SHUT_RDWR)

    assert endings.get(timeout=5) == 1
    assert "rank 1 was ended by SIGKILL; the worker ends with it" in caplog.text


def test_a_batch_for_a_rank_that_is_gone_raises_nothing_before_that_is_told(worker, endings):
    worker.sockets[1].close()

    worker.ranks.run(wire.Run(7, [ROW]))

    assert endings.get(timeout=5) == 1


def test_batches_are_handed_on_before_rank_0_begins_them(worker):
    worker.other.receive()
    batch = wire.Run(7, [ROW])

    worker.ranks.run(batch)

    assert worker.other.receive() == batch
    answer = wire.Ran(7, [], {})
    assert worker.ranks.answered(answer) is answer


def test_a_batch_at_which_all_ranks_fail_is_a_failed_batch_and_no_more(worker, endings):
    worker.ranks.run(wire.Run(7, [ROW]))
    worker.other.send(raised(7))

    assert not worker.ranks.answered(raised(7)).retire
    assert endings.empty()


def test_ranks_that_wait_for_a_rank_0_that_has_failed_are_replaced(worker, caplog):
    worker.ranks.run(wire.Run(7, [ROW]))

    assert worker.ranks.answered(raised(7)).retire
    assert "out of step" in caplog.text


def test_a_rank_0_that_waits_for_a_rank_that_has_failed_is_replaced(worker, endings, caplog):
    worker.ranks.run(wire.Run(7, [ROW]))
    worker.other.send(raised(7))

    assert endings.get(timeout=5) == 1
    assert worker.told.get_nowait() == structs.replace(raised(7), retire=True)
    assert "out of step since rank 1 failed" in caplog.text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (wire.Ran(3, [wire.Reply(200, "", "", [], b"large")], {"handle": 1.0}), wire.Ran(3, [], {})),
        (raised(3, "WrongResult"), wire.Ran(3, [], {})),
        (raised(3), raised(3)),
    ],
)
def test_what_other_ranks_answer_is_nobodys(answer, told):
    assert outcome(answer) == told


def test_a_rank_finds_torchruns_environment(tmp_path):
    load = structs.replace(make_load(tmp_path), world=4, rank=2, port=12345)

    assert enter(load) == load
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")
    assert [os.environ[name] for name in names] == ["2", "2", "4", "4", "127.0.0.1", "12345", "0"]


@pytest.mark.parametrize(("own", "seen"), [(None, "2,3"), ("4,5,6,7", "6,7")])
def test_a_rank_sees_its_workers_gpus_and_is_on_the_one_of_its_number(tmp_path, monkeypatch, own, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if own is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", own)
    load = structs.replace(make_load(tmp_path), device="cuda:2", world=2, rank=1, port=1, visible=[2, 3])

    assert enter(load).device == "cuda:1"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_a_worker_of_one_process_keeps_its_environment(tmp_path):
    before = dict(os.environ)
    load = make_load(tmp_path)

    assert enter(load) is load
    assert dict(os.environ) == before


@pytest.mark.parametrize("key", ["asyncCommunication", "continuousBatching"])
def test_rows_that_come_and_go_cannot_be_kept_in_step(tmp_path, key):
    (tmp_path / "handler.py").write_text("async def handle(data, context): return data\n")
    load = structs.replace(make_load(tmp_path, config={key: True}), world=2)

    with pytest.raises(LoadError, match=f"{key} needs workers of one process; torchrun declares 2"):
        Session(load).open()


def test_a_model_over_several_processes_is_left_as_it_is_and_says_why(tmp_path):
    (tmp_path / "handler.py").write_text("def handle(data, context): return data\n")
    config = {"pt2": {"compile": {"enable": True}}}
    report = Session(structs.replace(make_load(tmp_path, config=config), world=2)).open()

    [compiling] = [step for step in report["steps"] if step["name"] == "compile"]
    assert compiling["reason"] == "the model is spread over 2 processes"
