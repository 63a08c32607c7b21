"""One model version: its queue, its workers, and the way from a submitted row to its one answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from archiver.config.model import ModelConfig
from runner import wire
from runner.pool.link import Link, LinkState
from runner.pool.observer import Observer
from runner.pool.sequence_headers import marked
from runner.pool.waiting_room import sequences_of, waiting_room
from runner.scheduling import retry
from runner.scheduling.batcher import Batch, may_send_ahead
from runner.scheduling.job import Cause, Client, Event, Failure, Job
from runner.scheduling.sequences import LOST, SequenceBatcher

log = logging.getLogger("archive.model")

#: How often waiting clients are asked whether they still listen, and busy workers whether they hang (seconds).
_ROUND = 0.1
#: Seconds after a death in which the deaths of other workers become known.
_OTHERS_MAY_FOLLOW = 0.01
#: Weight of the newest batch in the running mean of batch times.
_NEWEST = 0.2


class ModelState(Enum):
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class Model:
    """A model version as the front end sees it. All methods belong to the event loop's thread."""

    def __init__(self, name: str, version: str, config: ModelConfig, observer: Observer) -> None:
        self.name = name
        self.version = version
        self.config = config
        self.state = ModelState.LOADING
        self._abreast = config.batch_size if config.async_communication or config.continuous_batching else 1
        self._sequences = sequences_of(config)
        self.batcher = self._sequences or waiting_room(config)
        self.links: list[Link] = []
        self._observer = observer
        self.loop = asyncio.get_running_loop()
        self._dispatching = False
        self._round: asyncio.TimerHandle | None = None
        self._arriving = 0
        self._drained: list[asyncio.Future[None]] = []
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = math.inf
        self._batch_seconds = 0.0

    def submit(self, row: wire.Row, client: Client) -> Job | None:
        """Accept the row; None = there is no room. The client gets exactly one answer, later."""
        if self.config.use_job_ticket and not self._has_ticket:
            return None
        now = time.monotonic()
        if self._sequences is not None:
            job = self._join(self._sequences, row, client, now)
        else:
            timeout = self.config.client_timeout
            job = Job(row, now, client, None if timeout is None else now + timeout / 1000)
            if self.batcher.offer(job) is not None:
                return None
        if job is None:
            return None
        if not self._dispatching:
            # What arrives in the same turn of the event loop travels together.
            self._dispatching = True
            self.loop.call_soon(self._dispatch)
        if self._round is None:
            self._round = self.loop.call_later(_ROUND, self._make_round)
        return job

    def _join(self, sequences: SequenceBatcher, row: wire.Row, client: Client, now: float) -> Job | None:
        """`submit` for a model with state."""
        assert self.config.sequences is not None, "this is a bug: no sequences are declared"
        mark, row, client = marked(row, client)
        times = [self.config.client_timeout, mark and self.config.sequences.timeout]
        job = Job(row, now, client, min((now + time / 1000 for time in times if time), default=None))
        refused = sequences.offer(job) if mark is None else sequences.join(job, mark)
        if isinstance(refused, Failure):
            # The caller does not know the job yet, so it cannot take an answer yet.
            job.advance(Event.ANSWER)
            self._observer.failed(refused.cause)
            self.loop.call_soon(client.deliver, refused)
            return job
        return job if refused is None else None

    def end_sequence(self, name: str) -> None:
        """No request of it will come any more; without sequences nothing happens."""
        if self._sequences is not None:
            self._sequences.end(name)

    @property
    def _has_ticket(self) -> bool:
        """Whether a worker is idle that nobody who waits already will take."""
        idle = sum(link.room for link in self.links)
        return self.batcher.waiting < idle and not self.batcher.has_retries

    def turned_away(self) -> None:
        """Count a request that found no room."""
        self._observer.turned_away()

    def queue_seconds(self) -> float:
        """About how long what waits now will take: when it makes sense to try again."""
        batches = self.batcher.waiting / self.config.batch_size
        return batches * self._batch_seconds / max(1, len(self.links))

    def withdraw(self, job: Job) -> None:
        """The client has left."""
        self.batcher.withdraw(job)
        self._take_out([job])

    def _take_out(self, jobs: Iterable[Job]) -> None:
        """Nobody waits for these any more: a worker of which rows may leave goes on without them."""
        if not self.config.continuous_batching:
            return
        gone = set(jobs)
        for link in self.links:
            for batch in link.in_flight.values():
                if not gone.isdisjoint(batch.jobs):
                    link.send(wire.Leave(batch.number))

    def worker_ready(self, link: Link) -> None:
        """A worker has loaded the model: it may be sent batches."""
        link.state = LinkState.READY
        link.abreast = self._abreast
        self.links.append(link)
        self._dispatch()

    def worker_answered(self, link: Link, answer: wire.Ran | wire.Raised) -> None:
        """Deliver what came back, and give the worker its next batch."""
        now = time.monotonic()
        batch = link.find(answer.batch)
        if batch is None or not self._fits(batch, answer):
            link.kill()
            return
        seconds = now - batch.started
        self._batch_seconds += seconds if not self._batch_seconds else _NEWEST * (seconds - self._batch_seconds)
        link.finished(batch, now)
        if isinstance(answer, wire.Ran):
            self._deliver(batch, answer, now, seconds)
        else:
            self._raised(batch, answer)
        if link.retired:
            link.retire()
        self._dispatch()

    def worker_sent(self, link: Link, pieces: wire.Pieces) -> None:
        """Pass parts of answers on. The pause between two of them is what `responseTimeout` limits."""
        now = time.monotonic()
        batch = link.find(pieces.batch)
        if batch is None or any(not 0 <= piece.place < len(batch) for piece in pieces.pieces):
            link.kill()
            return
        batch.heard = now
        for piece in pieces.pieces:
            job = batch.jobs[piece.place]
            if not piece.last:
                self.batcher.piece(job, piece.reply)
            elif self.batcher.answer(job, piece.reply):
                self._observer.answered(job.sent - job.arrived, now - job.arrived)

    def _fits(self, batch: Batch, answer: wire.Ran | wire.Raised) -> bool:
        """A worker that asks to be replaced is treated like one that died: its batch is tried elsewhere."""
        if isinstance(answer, wire.Raised):
            if answer.retire:
                log.error("%s: worker asks to be replaced: %s: %s", self.name, answer.kind, answer.message)
            return not answer.retire
        return len(answer.replies) == len(batch)

    def _deliver(self, batch: Batch, ran: wire.Ran, now: float, took: float) -> None:
        answered = self._observer.answered
        for job, reply in zip(batch.jobs, ran.replies, strict=True):
            if self.batcher.answer(job, reply):
                answered(job.sent - job.arrived, now - job.arrived)
        self._observer.batch(len(batch), took, ran.seconds, ran.metrics)

    def _raised(self, batch: Batch, raised: wire.Raised) -> None:
        outcome = retry.Raised(raised.status, raised.kind, raised.message)
        # What has state has moved on halfway: to call it again would do things twice.
        row_retry = self.config.row_retry and self._sequences is None
        actions = retry.after(batch.jobs, outcome, row_retry=row_retry)
        if any(isinstance(action, retry.Answer) for action in actions):
            trace = "\n".join(raised.trace)
            log.error("%s: the handler raised %s: %s\n%s", self.name, raised.kind, raised.message, trace)
        self._apply(actions)

    def worker_lost(self, link: Link) -> None:
        """Try what the worker left unanswered elsewhere, or give it up.

        Not at once: what ended this worker may be ending the others, and a row that is sent to one of them would be
        blamed for a death that is not its doing.
        """
        if link in self.links:
            self.links.remove(link)
        if self._sequences is not None:
            self._apply([retry.Answer(job, LOST) for job in self._sequences.worker_lost(link)])
        actions = self._after_death(link)
        link.in_flight.clear()
        self.loop.call_later(_OTHERS_MAY_FOLLOW, self._settle, actions)
        self._dispatch()

    def _after_death(self, link: Link) -> list[retry.Again | retry.Answer]:
        """Batches that ran beside each other were company: which of them ended the worker only a hung one tells."""
        batches = list(link.in_flight.values())
        hung = [batch for batch in batches if batch.hung]
        blamed = hung or link.running
        spared = [batch.jobs for batch in batches if batch not in blamed]
        parties = [batch.jobs for batch in hung] or [[job for batch in blamed for job in batch.jobs]]
        outcomes = [(jobs, retry.Died(started=True, hung=bool(hung))) for jobs in parties]
        outcomes += [(jobs, retry.Died(started=False)) for jobs in spared]
        row_retry = self.config.row_retry
        return [action for jobs, outcome in outcomes for action in retry.after(jobs, outcome, row_retry=row_retry)]

    def _settle(self, actions: Iterable[retry.Again | retry.Answer]) -> None:
        self._apply(actions)
        self._dispatch()

    def _apply(self, actions: Iterable[retry.Again | retry.Answer]) -> None:
        for action in actions:
            if isinstance(action, retry.Again):
                for jobs in [action.jobs] if self._abreast == 1 else [(job,) for job in action.jobs]:
                    self.batcher.again(jobs)
                self._observer.retried(len(action.jobs))
            elif self.batcher.answer(action.job, action.failure):
                self._observer.failed(action.failure.cause)

    def _dispatch(self) -> None:
        """Give free workers what may leave now, then full batches ahead to short-running busy ones."""
        self._dispatching = False
        now = time.monotonic()
        if self._sequences is not None:
            self._dispatch_sequences(self._sequences, now)
            return
        while (link := self._freest()) is not None:
            batch = None if link.in_flight and self.batcher.next_is_suspect else self.batcher.take(now)
            if batch is None:
                break
            self._run(link, batch, now)
        else:
            if self._batch_seconds:
                self._send_ahead(now)
        self._set_alarm(now)

    def _dispatch_sequences(self, sequences: SequenceBatcher, now: float) -> None:
        """Each free worker gets what is its own; who begins is shared out, first to those who hold the fewest."""
        free = sorted((link for link in self.links if link.room), key=sequences.held_by)
        for link in free:
            batch = sequences.take_for(link, now, math.ceil(sequences.fresh / len(free)))
            if batch is not None:
                self._run(link, batch, now)
        self._set_alarm(now)

    def _freest(self) -> Link | None:
        """A worker with room, of several the one with the least to do."""
        found, least = None, self._abreast
        for link in self.links:
            load = len(link.in_flight)
            if load < least and link.room:
                found, least = link, load
        return found

    def _send_ahead(self, now: float) -> None:
        if self.batcher.has_retries or self._abreast > 1:
            return
        for link in self.links:
            if link.state is not LinkState.READY or len(link.in_flight) != 1:
                continue
            if may_send_ahead(max(self._batch_seconds, now - link.first.started)):
                batch = self.batcher.take(now, full_only=True)
                if batch is None:
                    return
                self._run(link, batch, now)

    def _run(self, link: Link, batch: Batch, now: float) -> None:
        try:
            link.run(batch, now)
        except wire.WireError as error:
            # Rows that are too large together go one by one, whatever rowRetry says: nothing has run yet.
            outcome = retry.Raised(413, "WireError", f"The request is too large: {error}.")
            self._apply(retry.after(batch.jobs, outcome, row_retry=True))
            self.loop.call_soon(self._dispatch)

    def _set_alarm(self, now: float) -> None:
        at = self.batcher.next_deadline()
        if at == math.inf or (self._wake is not None and self._wake_at <= at):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake_at = at
        self._wake = self.loop.call_later(max(0.0, at - now), self._alarm)

    def _alarm(self) -> None:
        self._wake = None
        late = self.batcher.expire(time.monotonic())
        self._take_out(late)
        for _ in late:
            self._observer.failed(Cause.EXPIRED)
        self._dispatch()

    def _make_round(self) -> None:
        """End hung workers; let who has waited for a while find out whether anybody still listens."""
        self._round = None
        now = time.monotonic()
        for link in self.links:
            silent = [batch for batch in link.running if now - batch.heard > self.config.response_timeout]
            if silent and not link.hung:
                link.hung = True
                for batch in silent:
                    batch.hung = True
                seconds = self.config.response_timeout
                log.error("%s: worker %d gave no answer in %s s; ending it", self.name, link.number, seconds)
                link.kill()
        for job in self.batcher.open_since(now - _ROUND):
            job.client.still_waiting()
        if self.batcher.open:
            self._round = self.loop.call_later(_ROUND, self._make_round)
        else:
            self._tell_drained()

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """A request is on its way here: until the block ends the model counts as not drained."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1
            self._tell_drained()

    def _tell_drained(self) -> None:
        if self._is_busy:
            return
        for waiter in self._drained:
            if not waiter.done():
                waiter.set_result(None)
        self._drained.clear()

    @property
    def _is_busy(self) -> bool:
        return bool(self.batcher.open or self._arriving)

    async def drained(self) -> None:
        """Return when every request that arrives or has been accepted has its answer."""
        if self._is_busy:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._drained.append(waiter)
            await waiter

    def fail(self) -> None:
        """The workers cannot be started: answer everything, accept nothing until one is back."""
        self.state = ModelState.FAILED
        self._close(Failure(Cause.NO_WORKER))

    def stop(self) -> None:
        """Answer what is left and accept nothing any more."""
        self.state = ModelState.STOPPED
        self._close(Failure(Cause.STOPPED))

    def _close(self, failure: Failure) -> None:
        for _ in self.batcher.close(failure):
            self._observer.failed(failure.cause)

    def queue_status(self) -> dict[str, Any]:
        """TorchServe's `jobQueueStatus`."""
        waiting = self.batcher.waiting
        return {"remainingCapacity": self.batcher.capacity - waiting, "pendingRequests": waiting}
