"""Real processes whose handler is told by files when to fail."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from archiver.config.model import to_plain
from runner import wire
from runner.counting import ModelMetrics
from runner.pool.model import Model, ModelState
from runner.pool.spawner import Spawner
from runner.pool.supervisor import LoadError, Seat, Supervisor, describe_exit
from runner.scheduling.job import Cause
from tests.runner.configs import make_config
from tests.runner.loops import in_loop
from tests.runner.pool.limits import few_descriptors

HANDLER = """
import os, time
while os.path.exists("slow"): time.sleep(0.01)
if os.path.exists("broken"): raise RuntimeError("told to fail")
def handle(data, context):
    while os.path.exists("busy"): time.sleep(0.01)
    return data and [os.getpid()] * len(data)
"""


class Client:
    def __init__(self) -> None:
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def deliver(self, answer: Any) -> None:
        self.answer.set_result(answer)

    def piece(self, reply: Any) -> None: ...

    def still_waiting(self) -> None: ...


def supervise(folder: Path, workers: int, **config: Any) -> Supervisor:
    """A supervisor of workers that serve this folder; not started."""
    (folder / "handler.py").write_text(HANDLER)
    settings = make_config(**config)
    model = Model("m", "1.0", settings, ModelMetrics("m", "1.0"))
    manifest = {"model": {"modelName": "m", "handler": "handler.py"}}
    spawner = Spawner()
    spawner.start()
    load = wire.Load("m", "1.0", str(folder), manifest, to_plain(settings), "cpu", 1, None, False)
    seats = [Seat(number, load) for number in range(workers)]
    return Supervisor(model, spawner, seats, first_alone=False, on_restart=lambda: None)


async def end(supervisor: Supervisor) -> None:
    supervisor.model.stop()
    await supervisor.stop()
    await supervisor._spawner.close()


async def ask(supervisor: Supervisor) -> Any:
    client = Client()
    supervisor.model.submit(wire.Row("1", [("body", "text/plain", b"x")], wire.pack_headers([])), client)
    return await client.answer


async def begun(supervisor: Supervisor, folder: Path) -> asyncio.Future[Any]:
    """A request that a worker has taken, and works on as long as the folder has a file `busy`."""
    (folder / "busy").touch()
    asked = asyncio.ensure_future(ask(supervisor))
    while not any(link.in_flight for link in supervisor.model.links):
        await asyncio.sleep(0.01)
    return asked


def test_a_worker_that_cannot_load_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()

    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 2)
        with pytest.raises(LoadError, match="RuntimeError: told to fail"):
            await supervisor.start()
        await end(supervisor)

    story()


def test_a_model_whose_only_worker_stays_broken_is_given_up_and_says_why(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1, maxRetryTimeoutInSec=0)
        await supervisor.start()
        (tmp_path / "broken").touch()
        os.kill(supervisor.model.links[0].pid, signal.SIGKILL)
        while supervisor.model.state is not ModelState.FAILED:
            await asyncio.sleep(0.01)
        assert supervisor.last_error is not None
        assert supervisor.last_error.message == "told to fail"
        await end(supervisor)

    story()


def test_a_model_lives_on_with_the_workers_that_do(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 2, maxRetryTimeoutInSec=0)
        await supervisor.start()
        (tmp_path / "broken").touch()
        gone, stays = supervisor.model.links
        os.kill(gone.pid, signal.SIGKILL)
        while not any(keeper.done() for keeper in supervisor._keepers.values()):
            await asyncio.sleep(0.01)
        reply = await ask(supervisor)
        assert reply.body == b"%d" % stays.pid
        assert supervisor.model.state is ModelState.READY
        await end(supervisor)

    story()


def test_a_worker_for_which_there_is_no_descriptor_is_tried_again(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1)
        await supervisor.start()
        with few_descriptors(left=0):
            os.kill(supervisor.model.links[0].pid, signal.SIGKILL)
            while supervisor.last_error is None or supervisor.last_error.kind != "OSError":
                await asyncio.sleep(0.01)
        assert (await ask(supervisor)).status == 200
        await end(supervisor)

    story()


def test_how_a_process_ended_is_said_in_words() -> None:
    assert describe_exit(-signal.SIGSEGV) == "was ended by SIGSEGV"
    assert describe_exit(3) == "exited with status 3"


def seats_of(supervisor: Supervisor, count: int) -> list[Seat]:
    """As many seats as that, all of the first one's kind."""
    load = supervisor._seats[0].load
    return [Seat(number, load) for number in range(count)]


def pids(supervisor: Supervisor) -> list[int]:
    return [link.pid for link in supervisor.model.links if not link.retired]


def test_workers_join_and_leave_while_those_that_stay_go_on(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1)
        await supervisor.start()
        (first,) = pids(supervisor)
        await supervisor.resize(seats_of(supervisor, 3))
        assert (len(pids(supervisor)), supervisor.size, supervisor.ready_workers) == (3, 3, 3)
        await supervisor.resize(seats_of(supervisor, 1))
        assert (pids(supervisor), supervisor.size) == ([first], 1)
        assert (await ask(supervisor)).body == b"%d" % first
        await end(supervisor)

    story()


def test_a_worker_that_cannot_join_leaves_things_as_they_were(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1)
        await supervisor.start()
        (first,) = pids(supervisor)
        (tmp_path / "broken").touch()
        with pytest.raises(LoadError, match="told to fail"):
            await supervisor.resize(seats_of(supervisor, 3))
        assert (pids(supervisor), supervisor.size) == ([first], 1)
        assert (await ask(supervisor)).body == b"%d" % first
        await end(supervisor)

    story()


def test_a_model_without_workers_refuses_until_there_is_one_again(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1)
        seats = seats_of(supervisor, 1)
        await supervisor.start()
        await supervisor.resize([])
        assert (supervisor.model.state, supervisor.size) == (ModelState.FAILED, 0)
        await supervisor.resize(seats)
        assert supervisor.model.state is ModelState.READY
        assert (await ask(supervisor)).status == 200
        await end(supervisor)

    story()


def test_stopping_does_not_wait_for_workers_that_are_still_joining(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1)
        await supervisor.start()
        (tmp_path / "slow").touch()
        joining = asyncio.ensure_future(supervisor.resize(seats_of(supervisor, 2)))
        while not supervisor.loading:
            await asyncio.sleep(0.01)
        await end(supervisor)
        with pytest.raises(LoadError, match="the model is being unregistered"):
            await asyncio.wait_for(joining, 5)

    story()


def test_workers_that_never_finish_are_not_waited_for_when_all_are_to_leave(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("runner.pool.supervisor._LONGEST_DRAIN", 0.05)

    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1)
        await supervisor.start()
        asked = await begun(supervisor, tmp_path)
        await supervisor.resize([])
        assert (await asked).cause is Cause.NO_WORKER
        assert (supervisor.model.state, supervisor.size) == (ModelState.FAILED, 0)
        await end(supervisor)

    story()


def test_what_was_accepted_is_answered_before_the_last_worker_leaves(tmp_path: Path) -> None:
    @in_loop
    async def story() -> None:
        supervisor = supervise(tmp_path, 1)
        await supervisor.start()
        asked = await begun(supervisor, tmp_path)
        leaving = asyncio.ensure_future(supervisor.resize([]))
        await asyncio.sleep(0)
        (tmp_path / "busy").unlink()
        assert (await asked).status == 200
        await leaving
        await end(supervisor)

    story()
