from __future__ import annotations

import asyncio

import pytest

from runner import wire
from runner.pool.model import Model, ModelState
from runner.scheduling.job import Cause, Failure, Job
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker, make_model, make_row
from tests.runner.scheduling.clients import Recorder, answers, pieces


def submit(model: Model, *texts: str) -> list[Job]:
    jobs = [model.submit(make_row(text), Recorder()) for text in texts]
    assert None not in jobs
    return [job for job in jobs if job is not None]


async def turn() -> None:
    """One turn of the event loop: what was scheduled for "soon" has run."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def busy_once(model: Model) -> Worker:
    """A worker that has answered one short batch, so that the model knows how long batches take."""
    worker = Worker(model)
    submit(model, "first")
    model._dispatch()
    worker.reply(worker.batches()[0])
    return worker


def texts(worker: Worker) -> list[list[str]]:
    return [[row.id for row in run.rows] for run in worker.batches()]


async def next_texts(worker: Worker) -> list[list[str]]:
    """The batches that come next, as soon as some have come."""
    return [[row.id for row in run.rows] for run in await worker.next_batches()]


@in_loop
async def test_a_lone_request_goes_to_an_idle_worker_at_once() -> None:
    model = make_model(batchSize=8)
    worker = Worker(model)
    submit(model, "a")
    await turn()
    assert texts(worker) == [["a"]]


@in_loop
async def test_requests_of_one_turn_travel_together() -> None:
    model = make_model(batchSize=8)
    worker = Worker(model)
    submit(model, "a", "b", "c")
    await turn()
    assert texts(worker) == [["a", "b", "c"]]


@in_loop
async def test_two_idle_workers_share_what_waits() -> None:
    model = make_model(batchSize=2)
    first, second = Worker(model, 0), Worker(model, 1)
    submit(model, "a", "b", "c")
    await turn()
    assert texts(first) == [["a", "b"]]
    assert texts(second) == [["c"]]


@in_loop
async def test_requests_that_came_before_any_worker_are_kept_for_it() -> None:
    model = make_model(batchSize=2)
    submit(model, "a")
    await turn()
    assert texts(Worker(model)) == [["a"]]


@in_loop
async def test_every_row_gets_its_own_reply() -> None:
    model = make_model(batchSize=2)
    worker = Worker(model)
    jobs = submit(model, "a", "b")
    await turn()
    worker.reply(worker.batches()[0])
    assert [answers(job)[0].body for job in jobs] == [b"ok", b"ok"]
    assert model.batcher.open == 0


@in_loop
async def test_a_full_queue_refuses() -> None:
    model = make_model(jobQueueSize=1)
    submit(model, "a")
    assert model.submit(make_row(), Recorder()) is None


@in_loop
async def test_a_batch_that_raised_is_tried_row_by_row_and_only_the_guilty_row_fails() -> None:
    model = make_model(batchSize=3)
    worker = Worker(model)
    jobs = submit(model, "a", "bad", "c")
    await turn()
    worker.raise_(worker.batches()[0])
    for _ in range(3):
        (run,) = worker.batches()
        worker.raise_(run) if run.rows[0].id == "bad" else worker.reply(run)
    assert [getattr(answers(job)[0], "status", None) for job in jobs] == [200, 503, 200]


@in_loop
async def test_a_killed_workers_batch_is_answered_by_another() -> None:
    model = make_model(batchSize=2)
    first, second = Worker(model, 0), Worker(model, 1)
    (job,) = submit(model, "a")
    await turn()
    first.die()
    runs = await second.next_batches()
    assert [row.id for row in runs[0].rows] == ["a"]
    second.reply(runs[0])
    assert answers(job)[0].status == 200


@in_loop
async def test_a_killed_only_workers_batch_waits_for_the_next_worker() -> None:
    model = make_model()
    first = Worker(model)
    (job,) = submit(model, "a")
    await turn()
    first.die()
    assert answers(job) == []
    assert await next_texts(Worker(model, 1)) == [["a"]]


@in_loop
async def test_a_row_is_not_blamed_for_workers_that_die_together() -> None:
    model = make_model()
    first, second = Worker(model, 0), Worker(model, 1)
    (job,) = submit(model, "a")
    await turn()
    first.die()
    second.die()
    assert await next_texts(Worker(model, 2)) == [["a"]]
    assert (job.deaths, answers(job)) == (1, [])


@in_loop
async def test_a_worker_that_asks_to_be_replaced_is_ended_and_its_batch_goes_elsewhere() -> None:
    model = make_model()
    first, second = Worker(model, 0), Worker(model, 1)
    submit(model, "a")
    await turn()
    first.raise_(first.batches()[0], retire=True)
    assert first.kills == 1
    assert await next_texts(second) == [["a"]]


@in_loop
async def test_a_worker_that_answers_the_wrong_number_of_rows_is_ended() -> None:
    model = make_model(batchSize=2)
    first, second = Worker(model, 0), Worker(model, 1)
    submit(model, "a", "b")
    await turn()
    run = first.batches()[0]
    run.rows.pop()
    first.reply(run)
    assert first.kills == 1
    assert await next_texts(second) == [["a", "b"]]


@in_loop
async def test_a_worker_that_sends_garbage_is_ended() -> None:
    model = make_model()
    worker = Worker(model)
    submit(model, "a")
    await turn()
    worker.link.data_received(b"\x04\x00\x00\x00oops")
    assert worker.kills == 1


@in_loop
async def test_a_worker_that_speaks_unasked_is_ended() -> None:
    model = make_model()
    worker = Worker(model)
    worker.say(wire.Ran(1, [], {}))
    assert worker.kills == 1


@in_loop
async def test_a_full_batch_is_sent_ahead_to_a_busy_worker_with_short_batches() -> None:
    model = make_model(batchSize=2)
    worker = busy_once(model)
    submit(model, "a", "b", "c", "d", "e")
    await turn()
    assert texts(worker) == [["a", "b"], ["c", "d"]]


@in_loop
async def test_nothing_is_sent_ahead_before_it_is_known_how_long_batches_take() -> None:
    model = make_model(batchSize=2)
    worker = Worker(model)
    submit(model, "a", "b", "c", "d")
    await turn()
    assert texts(worker) == [["a", "b"]]


@in_loop
async def test_a_batch_sent_ahead_is_not_counted_against_its_rows_when_the_worker_dies() -> None:
    model = make_model(batchSize=1)
    first = busy_once(model)
    running, ahead = submit(model, "a", "b")
    await turn()
    first.die()
    assert (running.deaths, ahead.deaths) == (1, 0)


@in_loop
async def test_client_timeout_answers_waiting_and_sent_requests() -> None:
    model = make_model(clientTimeoutInMills=20, batchSize=1)
    Worker(model)
    sent, waiting = submit(model, "a", "b")
    while model.batcher.open:
        await asyncio.sleep(0.001)
    assert answers(sent) == answers(waiting) == [Failure(Cause.EXPIRED)]


@in_loop
async def test_pieces_reach_their_rows_and_a_last_one_ends_its_row_before_the_batch() -> None:
    model = make_model(batchSize=2)
    worker = Worker(model)
    first, second = submit(model, "a", "b")
    await turn()
    (run,) = worker.batches()
    piece, last = wire.Reply(200, "", "", [], b"piece"), wire.Reply(200, "", "", [], b"last")
    worker.say(wire.Pieces(run.batch, [wire.Piece(0, piece), wire.Piece(1, piece)]))
    worker.say(wire.Pieces(run.batch, [wire.Piece(0, last, last=True)]))
    assert (pieces(first), answers(first)) == ([piece], [last])
    assert (pieces(second), answers(second)) == ([piece], [])
    worker.reply(run)
    assert [len(answers(job)) for job in (first, second)] == [1, 1]


@in_loop
async def test_a_stream_is_broken_when_its_worker_dies_and_its_neighbour_is_run_elsewhere() -> None:
    model = make_model(batchSize=2)
    worker, other = Worker(model, 0), Worker(model, 1)
    begun, neighbour = submit(model, "a", "b")
    await turn()
    (run,) = worker.batches()
    worker.say(wire.Pieces(run.batch, [wire.Piece(0, wire.Reply(200, "", "", [], b"piece"))]))
    worker.die()
    assert await next_texts(other) == [["b"]]
    assert answers(begun) == [Failure(Cause.KILLED)]
    assert answers(neighbour) == []


@in_loop
async def test_a_worker_that_sends_pieces_of_another_batch_is_ended() -> None:
    model = make_model()
    worker = Worker(model)
    submit(model, "a")
    await turn()
    (run,) = worker.batches()
    worker.say(wire.Pieces(run.batch, [wire.Piece(7, wire.Reply(200, "", "", [], b""))]))
    assert worker.kills == 1


@in_loop
async def test_every_piece_gives_a_worker_its_response_timeout_anew() -> None:
    model = make_model(responseTimeout=1)
    worker = Worker(model)
    submit(model, "a")
    await turn()
    (run,) = worker.batches()
    worker.link.quiet_since -= 2
    worker.say(wire.Pieces(run.batch, [wire.Piece(0, wire.Reply(200, "", "", [], b"a"))]))
    model._make_round()
    assert worker.kills == 0


@in_loop
async def test_a_hung_worker_is_ended_and_the_request_told() -> None:
    model = make_model(responseTimeout=1)
    worker = Worker(model)
    (job,) = submit(model, "a")
    await turn()
    worker.link.quiet_since -= 2
    while model.batcher.open:
        await asyncio.sleep(0.001)
    assert answers(job) == [Failure(Cause.HUNG)]
    assert worker.kills == 1


@in_loop
async def test_the_delay_policy_waits_and_then_sends() -> None:
    model = make_model(batchPolicy="delay", maxBatchDelay=30, batchSize=4)
    worker = Worker(model)
    submit(model, "a")
    await turn()
    assert texts(worker) == []
    while not (sent := texts(worker)):
        await asyncio.sleep(0.001)
    assert sent == [["a"]]


@in_loop
async def test_clients_that_wait_are_reminded_to_look_whether_anybody_listens() -> None:
    model = make_model()
    (job,) = submit(model, "a")
    client = job.client
    assert isinstance(client, Recorder)
    while not client.reminders:
        await asyncio.sleep(0.001)
    model.withdraw(job)
    assert texts(Worker(model)) == []


@in_loop
async def test_a_model_that_is_given_up_answers_who_waits() -> None:
    model = make_model()
    (job,) = submit(model, "a")
    model.fail()
    assert answers(job) == [Failure(Cause.NO_WORKER)]
    assert model.state is ModelState.FAILED


@in_loop
async def test_ten_thousand_requests_in_line_are_each_answered_once() -> None:
    model = make_model(batchSize=64, jobQueueSize=10_000)
    jobs = submit(model, *map(str, range(10_000)))
    worker = Worker(model)
    while runs := worker.batches():
        for run in runs:
            worker.reply(run)
    assert all(len(answers(job)) == 1 for job in jobs)
    assert model.batcher.open == 0


@in_loop
async def test_rows_that_are_too_large_together_travel_alone() -> None:
    model = make_model(batchSize=2, rowRetry=False)
    worker = Worker(model)
    first_text, second_text = "a" * 300, "b" * 300
    size = len(wire.encode(wire.Run(1, [make_row(first_text), make_row(second_text)])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_FRAME", size - 5)
        submit(model, first_text, second_text)
        await turn()
        (first,) = worker.batches()
        worker.reply(first)
        (second,) = worker.batches()
    assert [[row.id for row in run.rows] for run in (first, second)] == [[first_text], [second_text]]


@in_loop
async def test_a_row_that_is_too_large_alone_is_answered_413() -> None:
    model = make_model()
    Worker(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_FRAME", 10)
        (job,) = submit(model, "a")
        await turn()
    assert answers(job)[0].status == 413
