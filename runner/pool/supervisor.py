"""Keeps the declared number of a model's workers alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runner import wire
from runner.pool.link import Link, LinkState, LoadError, OutputLines
from runner.pool.model import Model, ModelState
from runner.pool.spawner import Spawner, TemplateBroken
from runner.pool.swap import Swap
from runner.scheduling.restart import Backoff

__all__ = ["LoadError", "Seat", "Supervisor", "describe_exit"]

log = logging.getLogger("archive.worker")


#: A worker that lived this long (seconds) is not one that keeps dying, whether or not anybody asked it anything.
_HEALTHY_AFTER = 10.0
#: Seconds for accepted requests when all workers are to leave; what is left then is answered 503.
_LONGEST_DRAIN = 120.0


@dataclass(frozen=True, slots=True)
class Seat:
    """One declared worker: its number and what it is to load."""

    number: int
    load: wire.Load


class Supervisor:
    """The workers of one model version. `last_error` is why a worker last failed to load or died.

    `background`: each seat serves eager until a worker that compiles meanwhile takes over. `on_stop`: what ends
    with the workers.
    """

    def __init__(
        self,
        model: Model,
        spawner: Spawner,
        seats: list[Seat],
        *,
        first_alone: bool,
        background: bool = False,
        on_restart: Callable[[], None],
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.model = model
        self.last_error: wire.LoadFailed | None = None
        self.loading: list[Link] = []
        self._spawner = spawner
        self._seats = seats
        self._first_alone = first_alone
        self._on_restart = on_restart
        self._on_stop = on_stop
        self._backoff = Backoff(model.config.max_retry_timeout)
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._background = background
        self._turn = asyncio.Lock()
        self._swaps: dict[int, Swap] = {}
        self._outputs: set[OutputLines] = set()
        self._stopping = False

    def _swap(self, seat: Seat) -> Swap | None:
        """What brings the seat its compiled worker; None when nothing is compiled in the background."""
        if not self._background:
            return None

        async def start(load: wire.Load) -> Link:
            return await self._start_worker(Seat(seat.number, load))

        return self._swaps.setdefault(seat.number, Swap(self.model, seat.load, start, self._turn))

    @property
    def size(self) -> int:
        """How many workers are declared."""
        return len(self._seats)

    def declare(self, seats: Sequence[Seat]) -> None:
        """Have these seats instead, before anything is started."""
        self._seats = list(seats)

    async def start(self) -> None:
        """Start the workers and return when all are READY. Raises LoadError when one cannot load.

        `first_alone` lets the first worker fill the compile cache that the others then read.
        """
        first = [asyncio.get_running_loop().create_future() for _ in self._seats]
        for seat, ready in zip(self._seats, first, strict=True):
            self._keepers[seat.number] = asyncio.create_task(self._keep(seat, ready), name=f"worker-{seat.number}")
            if self._first_alone and seat is self._seats[0]:
                await ready
        await asyncio.gather(*first)
        # Without workers nothing can be answered until some are asked for.
        self.model.state = ModelState.READY if self._seats else ModelState.FAILED

    async def resize(self, seats: Sequence[Seat]) -> None:
        """Have these seats' workers and no others; the first seats are those that are there already.

        Who leaves finishes what it has been sent. Raises LoadError when a new worker cannot load; then the seats are
        those that were there before.
        """
        if not seats:
            # What has been accepted is answered first; nothing more is.
            self.model.state = ModelState.FAILED
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.model.drained(), _LONGEST_DRAIN)
        kept = len(self._seats)
        leaving, self._seats[:] = self._seats[len(seats) :], [*self._seats[: len(seats)], *seats[kept:]]
        for seat in leaving:
            await self._dismiss(seat)
        if not seats:
            self.model.fail()
        if self._stopping:
            raise _stopped()
        coming = self._seats[kept:]
        first = [asyncio.get_running_loop().create_future() for _ in coming]
        for seat, ready in zip(coming, first, strict=True):
            self._keepers[seat.number] = asyncio.create_task(self._keep(seat, ready), name=f"worker-{seat.number}")
        results = await asyncio.gather(*first, return_exceptions=True)
        failed = next((result for result in results if isinstance(result, BaseException)), None)
        if failed is None:
            return
        if self._stopping:
            raise _stopped() from failed
        await self.resize(self._seats[:kept])
        raise failed

    async def _dismiss(self, seat: Seat) -> None:
        """The seat's worker leaves at a batch boundary; one that is still loading, at once."""
        keeper = self._keepers.pop(seat.number, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if seat.number in self._swaps:
            await self._swaps.pop(seat.number).stop()
        for link in [*self.model.links]:
            if link.number == seat.number:
                link.retire()

    async def _keep(self, seat: Seat, first: asyncio.Future[None]) -> None:
        """One seat's workers until we stop or give up; `first` is never left waiting."""
        try:
            await self._keep_on(seat, first)
        finally:
            first.cancel()

    async def _keep_on(self, seat: Seat, first: asyncio.Future[None] | None) -> None:
        """One worker after the other."""
        swap = self._swap(seat)
        while True:
            try:
                link = await self._next_worker(seat, swap)
            except LoadError as error:
                self.last_error = error.failure
                if first is not None:
                    first.set_exception(error)
                    return
                log.error("%s: worker %d failed to load: %s", self.model.name, seat.number, error)
            else:
                if first is not None:
                    first.set_result(None)
                first = None
                await self._serve(link, swap)
            if self._stopping or not await self._may_restart(seat):
                if swap is not None:
                    await swap.stop()
                return

    async def _next_worker(self, seat: Seat, swap: Swap | None) -> Link:
        """A READY worker for the seat. Raises LoadError."""
        if swap is None:
            return await self._start_worker(seat)
        return swap.ready() or await self._start_worker(Seat(seat.number, swap.load))

    async def _serve(self, link: Link, swap: Swap | None) -> None:
        """From READY to the end of the worker, or of the one that took over from it."""
        if self.model.state is ModelState.FAILED:
            self.model.state = ModelState.READY
        self.model.worker_ready(link)
        ready_at = time.monotonic()
        if swap is not None:
            link = await swap.over(link)
        await link.lost
        if not self._stopping:
            log.error("%s: lost worker %d (pid %d)", self.model.name, link.number, link.pid)
        if link.served or time.monotonic() - ready_at > _HEALTHY_AFTER:
            self._backoff.served()

    async def _may_restart(self, seat: Seat) -> bool:
        """Wait as long as the backoff asks; False when it is time to give this worker up.

        The model is given up with its last worker; those that live go on.
        """
        delay = self._backoff.died(time.monotonic())
        self._on_restart()
        if delay is None:
            seconds = self._backoff.give_up_after
            log.error("%s: worker %d is given up after %d s of failures", self.model.name, seat.number, seconds)
            if not self.model.links:
                self.model.fail()
            return False
        log.warning("%s: worker %d is started again in %.0f s", self.model.name, seat.number, delay)
        await asyncio.sleep(delay)
        return True

    async def _start_worker(self, seat: Seat) -> Link:
        """Fork, load, and return the READY link. Raises LoadError."""
        loop = asyncio.get_running_loop()
        exited: asyncio.Future[int] = loop.create_future()
        try:
            process = await self._spawner.fork(exited.set_result, max(1, seat.load.world))
        except (TemplateBroken, OSError) as error:
            raise LoadError(wire.LoadFailed(type(error).__name__, str(error), [])) from error
        link = Link(seat.number, process, seat.load.device, self.model)
        await loop.create_connection(lambda: link, sock=process.sock)
        await self._listen(link, process.output)
        self.loading.append(link)
        try:
            link.send(seat.load)
            link.loaded = await self._loaded(link, exited, self._patience(seat.load))
        except BaseException:
            link.close()
            raise
        finally:
            self.loading.remove(link)
        exited.add_done_callback(lambda status: self._tell_death(link, status.result()))
        log.info(
            "%s: worker %d (pid %d, %s) ready in %.2f s",
            self.model.name,
            link.number,
            link.pid,
            link.device,
            link.loaded.seconds,
        )
        return link

    async def _listen(self, link: Link, output: int) -> None:
        """Log what the worker prints until it closes its end."""
        lines = OutputLines(self._printer(link), self._outputs.discard)
        self._outputs.add(lines)
        pipe = open(output, "rb", 0)  # noqa: SIM115  the pipe's transport closes it
        await asyncio.get_running_loop().connect_read_pipe(lambda: lines, pipe)

    def _patience(self, load: wire.Load) -> float:
        """Seconds for loading; nobody waits for a worker that compiles in the background."""
        config = self.model.config
        return config.startup_timeout + config.pt2.timeout if load.background else config.startup_timeout

    async def _loaded(self, link: Link, exited: asyncio.Future[int], timeout: float) -> wire.Loaded:
        words: set[asyncio.Future[Any]] = {link.loading, link.lost}
        await asyncio.wait(words, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if link.loading.done():
            answer = link.loading.result()
            if isinstance(answer, wire.Loaded):
                return answer
            raise LoadError(answer)
        if link.lost.done():
            status = await self._status(exited)
            raise LoadError(
                wire.LoadFailed("WorkerDied", f"the worker {status} while loading", list(link.last_lines))
            )
        link.kill()
        lines = list(link.last_lines)
        limits = "startupTimeout" if timeout == self.model.config.startup_timeout else "startupTimeout + pt2.timeout"
        raise LoadError(wire.LoadFailed("Timeout", f"not loaded within {limits} ({timeout:g} s)", lines))

    def _tell_death(self, link: Link, status: int) -> None:
        if self._stopping or (link.retired and not status):
            return
        words = describe_exit(status)
        self.last_error = wire.LoadFailed("WorkerDied", f"the worker {words}", list(link.last_lines))
        log.error("%s: worker %d (pid %d) %s", self.model.name, link.number, link.pid, words)

    async def _status(self, exited: asyncio.Future[int]) -> str:
        """How the process ended, in words; the template tells soon after the link broke, unless it died too."""
        with contextlib.suppress(asyncio.TimeoutError):
            return describe_exit(await asyncio.wait_for(asyncio.shield(exited), 1.0))
        return "ended"

    def _printer(self, link: Link) -> Callable[[str], None]:
        def say(line: str) -> None:
            link.last_lines.append(line)
            log.info("%s: worker %d: %s", self.model.name, link.number, line)

        return say

    async def stop(self) -> None:
        """End the workers at once; whoever calls has let their jobs be answered."""
        self._stopping = True
        links = [*self.model.links, *self.loading]
        for link in links:
            link.kill()
            link.close()
        for keeper in self._keepers.values():
            keeper.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        await asyncio.gather(*(swap.stop() for swap in self._swaps.values()))
        for lines in [*self._outputs]:
            lines.close()
        if links:
            await asyncio.wait({link.lost for link in links}, timeout=1)
        # What was closed is let go in the loop's next turns.
        for _ in range(3):
            await asyncio.sleep(0)
        if self._on_stop is not None:
            await self._on_stop()

    @property
    def ready_workers(self) -> int:
        return sum(link.state is LinkState.READY for link in self.model.links)


def _stopped() -> LoadError:
    return LoadError(wire.LoadFailed("Stopped", "the model is being unregistered", []))


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"exited with status {status}"
