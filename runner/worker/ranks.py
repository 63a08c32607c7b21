"""A worker of several processes (`torchrun`): rank 0 speaks with the front end, the others do what it does.

Rules of the room
1. Rank 0 hands each batch on before it begins it, so that all ranks run the same batches in the same order. What the
   others answer is dropped, as in TorchServe; they tell only that they have ended a batch, and how.
2. One fate: when one process ends, all end, and the front end starts the worker again as a whole.
3. Where one rank has failed and another sits in a collective that nobody else will enter, waiting helps nobody: the
   batch is given up and the worker is replaced.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from runner import wire
from runner.worker.channel import Channel

_log = logging.getLogger("archive.ranks")

_HOST = "127.0.0.1"
#: Seconds by which ranks may differ in failing at the same batch.
_APART = 5.0


@dataclass(frozen=True, slots=True)
class Follower:
    """A process other than rank 0, as rank 0 knows it."""

    rank: int
    pid: int
    sock: socket.socket


def enter(load: wire.Load) -> wire.Load:
    """Make this process the rank that the order says: torchrun's environment, and the worker's GPUs alone, of which
    LOCAL_RANK is the number. Returns the order as this rank sees it."""
    if load.visible:
        own = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = own.split(",") if own else None
        chosen = (names[number] if names else str(number) for number in load.visible)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        load = structs.replace(load, device=f"cuda:{load.rank}")
    if load.port:
        os.environ.update(_environment(load.rank, load.world, load.port))
    return load


def _environment(rank: int, world: int, port: int) -> dict[str, str]:
    values = {
        **dict.fromkeys(("RANK", "LOCAL_RANK", "ROLE_RANK"), rank),
        **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"), world),
        **{"GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1, "ROLE_NAME": "default"},
        **{"MASTER_ADDR": _HOST, "MASTER_PORT": port},
        # The store is there already: every rank is its client, rank 0 as well.
        **{"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RUN_ID": "none"},
        **{"TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 0},
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": 1,
    }
    return {name: str(value) for name, value in values.items()}


class Ranks:
    """The other processes of a worker, for rank 0. `send`: to the front end."""

    def __init__(self, followers: Sequence[Follower], send: Callable[[wire.Frame], None]) -> None:
        self._followers = followers
        self._channels = {follower.rank: Channel(follower.sock) for follower in followers}
        self._send = send
        self._store: Any = None
        self._news = threading.Condition()
        self._loaded: dict[int, wire.Loaded] = {}
        self._ended: dict[int, int] = {}  # rank → the last batch that it has ended
        self._running: int | None = None
        self._failed = False

    def begin(self, load: wire.Load) -> wire.Load:
        """Have all ranks load. Returns the order for rank 0."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch's own way to offer it

        self._store = TCPStore(_HOST, 0, load.world, is_master=True, wait_for_workers=False)
        load = structs.replace(load, port=self._store.port)
        for follower in self._followers:
            self._tell(follower.rank, structs.replace(load, rank=follower.rank))
            threading.Thread(target=self._hear, args=(follower,), daemon=True, name=f"rank-{follower.rank}").start()
        return load

    def wait_until_loaded(self) -> int:
        """Until every other rank has loaded its part. Returns their memory in bytes."""
        with self._news:
            self._news.wait_for(lambda: len(self._loaded) == len(self._followers))
            return sum(loaded.memory for loaded in self._loaded.values())

    def load_failed(self, failure: wire.LoadFailed) -> None:
        """Tell the front end, once, for all ranks may fail alike."""
        with self._news:
            if not self._failed:
                self._send(failure)
            self._failed = True

    def run(self, batch: wire.Run) -> None:
        """Rank 0 is about to begin this batch."""
        with self._news:
            self._running = batch.batch
        for rank in self._channels:
            self._tell(rank, batch)

    def answered(self, answer: wire.Ran | wire.Raised) -> wire.Ran | wire.Raised:
        """Rank 0 has ended the batch. A failure says also whether the worker is still of use."""
        with self._news:
            self._running = None
            if isinstance(answer, wire.Ran) or self._news.wait_for(lambda: self._all_ended(answer.batch), _APART):
                return answer
        _log.error("ranks are out of step after a failed batch; the worker is replaced")
        return structs.replace(answer, retire=True)

    def _tell(self, rank: int, frame: wire.Frame) -> None:
        # Of a rank that is gone its thread hears, and ends this process.
        with suppress(OSError):
            self._channels[rank].send(frame)

    def _all_ended(self, batch: int) -> bool:
        return all(self._ended.get(follower.rank) == batch for follower in self._followers)

    def _hear(self, follower: Follower) -> None:
        channel = self._channels[follower.rank]
        with suppress(OSError):
            while (frame := channel.receive()) is not None:
                self._take(follower, frame)
        _, status = os.waitpid(follower.pid, 0)
        _log.error("rank %d %s; the worker ends with it", follower.rank, _ending(os.waitstatus_to_exitcode(status)))
        os._exit(1)

    def _take(self, follower: Follower, frame: wire.Frame) -> None:
        if isinstance(frame, wire.LoadFailed):
            self.load_failed(structs.replace(frame, message=f"rank {follower.rank}: {frame.message}"))
            os._exit(1)
        with self._news:
            if isinstance(frame, wire.Loaded):
                self._loaded[follower.rank] = frame
            elif isinstance(frame, wire.Ran | wire.Raised):
                self._ended[follower.rank] = frame.batch
            self._news.notify_all()
        if isinstance(frame, wire.Raised):
            _log.error("rank %d failed: %s", follower.rank, frame.trace[-1] if frame.trace else frame.kind)
            timer = threading.Timer(_APART, self._give_up, [follower.rank, frame])
            timer.daemon = True
            timer.start()

    def _give_up(self, rank: int, raised: wire.Raised) -> None:
        """A rank has failed at a batch, and rank 0 has not ended it since."""
        with self._news:
            if self._running != raised.batch:
                return
            trace = "\n".join(raised.trace)
            _log.error("ranks are out of step since rank %d failed; the worker is replaced\n%s", rank, trace)
            self._send(structs.replace(raised, retire=True))
            # What was sent ahead is run elsewhere; this thread cannot free the one that waits for the lost rank.
            os._exit(1)


def outcome(answer: wire.Ran | wire.Raised) -> wire.Ran | wire.Raised:
    """What another rank tells rank 0 of a batch. Its result is nobody's: it may be none at all."""
    if isinstance(answer, wire.Raised) and answer.kind != "WrongResult":
        return answer
    return wire.Ran(answer.batch, [], {})


def _ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
