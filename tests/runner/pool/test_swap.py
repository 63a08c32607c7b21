"""Eager first, compiled later: the pool's side of pt2.background, with workers that are not there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from archiver.config.model import to_plain
from runner import wire
from runner.pool.link import Link, LinkState, LoadError
from runner.pool.model import Model
from runner.pool.swap import Swap
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker, make_model, make_row


class Client:
    def __init__(self) -> None:
        self.answer: Any = None

    def deliver(self, answer: Any) -> None:
        self.answer = answer

    def piece(self, reply: Any) -> None: ...

    def still_waiting(self) -> None: ...


def loaded(status: str, applied: str | None, reason: str | None = None) -> wire.Loaded:
    row = {"name": "compile", "declared": "inductor", "applied": applied, "status": status, "reason": reason}
    return wire.Loaded(1.0, {"steps": [row], "lines": [f"compile       declared inductor → {applied}"]}, 0)


class Seat:
    """A seat whose eager worker is READY. `start` is answered with what is put into `made`."""

    def __init__(self, **pt2: Any) -> None:
        self.model: Model = make_model(pt2=pt2)
        load = wire.Load("m", "1.0", ".", {}, to_plain(self.model.config), "cpu", 1, None, False)
        self.asked: list[wire.Load] = []
        self.made: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self.swap = Swap(self.model, load, self._start, asyncio.Lock())
        self.eager = self.worker(loaded("meanwhile", "eager"))

    async def _start(self, load: wire.Load) -> Link:
        self.asked.append(load)
        return await self.made

    def worker(self, word: wire.Loaded) -> Worker:
        worker = Worker(self.model)
        worker.link.loaded = word
        return worker

    def successor(self, word: wire.Loaded) -> Worker:
        """A worker that has loaded and is not the model's yet."""
        worker = self.worker(word)
        self.model.links.remove(worker.link)
        worker.link.state = LinkState.LOADING
        self.made.set_result(worker.link)
        return worker

    def submit(self) -> Client:
        client = Client()
        assert self.model.submit(make_row(), client) is not None
        return client

    @property
    def told(self) -> dict[str, Any]:
        assert self.eager.link.loaded is not None
        row: dict[str, Any] = self.eager.link.loaded.report["steps"][0]
        return row


@in_loop
async def test_the_compiled_worker_takes_over_at_a_batch_boundary() -> None:
    seat = Seat()
    first = seat.submit()
    await asyncio.sleep(0)
    (running,) = seat.eager.batches()
    successor = seat.successor(loaded("applied", "inductor"))
    assert await seat.swap.over(seat.eager.link) is successor.link
    second = seat.submit()
    await asyncio.sleep(0)
    assert seat.eager.batches() == [], "the eager worker gets nothing new"
    assert seat.eager.link.state is LinkState.UNLOADING
    seat.eager.reply(running)
    successor.reply(*await successor.next_batches())
    assert seat.eager.link.lost.done() and seat.model.links == [successor.link]
    assert first.answer.status == second.answer.status == 200
    assert not seat.swap.load.eager_first, "a worker that follows is compiled at once"


@in_loop
async def test_an_idle_eager_worker_leaves_at_once() -> None:
    seat = Seat()
    successor = seat.successor(loaded("applied", "inductor"))
    await seat.swap.over(seat.eager.link)
    assert seat.model.links == [successor.link]


@in_loop
async def test_a_retired_worker_that_dies_costs_no_answer() -> None:
    seat = Seat()
    client = seat.submit()
    await asyncio.sleep(0)
    successor = seat.successor(loaded("applied", "inductor"))
    await seat.swap.over(seat.eager.link)
    seat.eager.die()
    successor.reply(*await successor.next_batches())
    assert client.answer.status == 200


@in_loop
async def test_where_compilation_falls_back_eager_stays_and_says_why() -> None:
    seat = Seat()
    successor = seat.successor(loaded("fallback", "eager", "0.80 ×: slower than pt2.minSpeedup asks"))
    assert await seat.swap.over(seat.eager.link) is seat.eager.link
    assert successor.link.lost.done() and seat.eager.link.state is LinkState.READY
    assert (seat.told["status"], seat.told["reason"]) == ("fallback", "0.80 ×: slower than pt2.minSpeedup asks")
    assert seat.swap.load.eager_first, "a worker that follows is eager, too"


@pytest.mark.parametrize(("fallback", "level"), [("eager", logging.WARNING), ("fail", logging.ERROR)])
def test_a_successor_that_cannot_load_leaves_a_serving_worker_alone(
    caplog: pytest.LogCaptureFixture, fallback: str, level: int
) -> None:
    @in_loop
    async def story() -> None:
        seat = Seat(fallback=fallback)
        seat.made.set_exception(LoadError(wire.LoadFailed("OptimiseRefused", "compile: no", [])))
        assert await seat.swap.over(seat.eager.link) is seat.eager.link
        assert seat.told["reason"] == "the compiled worker failed to load: OptimiseRefused: compile: no"

    story()
    assert [record.levelno for record in caplog.records if "goes on without compilation" in record.message] == [level]


@in_loop
async def test_there_is_one_attempt_and_every_later_eager_worker_tells_of_it() -> None:
    seat = Seat()
    seat.made.set_exception(LoadError(wire.LoadFailed("WorkerDied", "ended by SIGKILL", [])))
    await seat.swap.over(seat.eager.link)
    seat.eager.die()
    seat.eager = seat.worker(loaded("meanwhile", "eager"))
    assert await seat.swap.over(seat.eager.link) is seat.eager.link
    assert len(seat.asked) == 1 and "ended by SIGKILL" in seat.told["reason"]


@in_loop
async def test_an_eager_worker_that_dies_meanwhile_does_not_stop_the_making() -> None:
    seat = Seat()
    over = asyncio.create_task(seat.swap.over(seat.eager.link))
    await asyncio.sleep(0)
    seat.eager.die()
    assert await over is seat.eager.link
    seat.eager = seat.worker(loaded("meanwhile", "eager"))
    successor = seat.successor(loaded("applied", "inductor"))
    assert await seat.swap.over(seat.eager.link) is successor.link
    assert len(seat.asked) == 1 and seat.asked[0].background and not seat.asked[0].eager_first


@in_loop
async def test_a_successor_that_is_ready_first_takes_the_empty_seat() -> None:
    seat = Seat()
    over = asyncio.create_task(seat.swap.over(seat.eager.link))
    await asyncio.sleep(0)
    seat.eager.die()
    await over
    successor = seat.successor(loaded("applied", "inductor"))
    while (link := seat.swap.ready()) is None:
        await asyncio.sleep(0)
    assert link is successor.link and await seat.swap.over(link) is link


@in_loop
async def test_stopping_ends_a_successor_that_never_got_to_serve() -> None:
    seat = Seat()
    over = asyncio.create_task(seat.swap.over(seat.eager.link))
    await asyncio.sleep(0)
    seat.eager.die()
    await over
    successor = seat.successor(loaded("applied", "inductor"))
    await seat.made
    for _ in range(5):
        await asyncio.sleep(0)
    await seat.swap.stop()
    assert successor.link.lost.done()


@in_loop
async def test_stopping_while_it_is_made_makes_no_more_of_it() -> None:
    seat = Seat()
    over = asyncio.create_task(seat.swap.over(seat.eager.link))
    while not seat.asked:
        await asyncio.sleep(0)
    await seat.swap.stop()
    assert seat.made.cancelled()
    over.cancel()
