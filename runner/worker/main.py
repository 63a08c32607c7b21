"""The worker's loop: receive a frame, run it, reply. One inference thread, the process's main thread.

Loading, warm-up and serving happen on this one thread, so that what was compiled and captured in warm-up is
what serves. A second thread only watches for the front end to hang up, and then ends the process, even one
whose handler never returns.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from runner import wire
from runner.handlers.errors import CannotLoad
from runner.worker.beside import Beside
from runner.worker.channel import Channel
from runner.worker.confinement import Confined, confine
from runner.worker.continuous import serve
from runner.worker.failures import load_error
from runner.worker.priority import behind_others
from runner.worker.ranks import Follower, Ranks, enter, outcome
from runner.worker.session import LoadError, Session


def _end_with_other_end(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, getattr(select, "POLLRDHUP", 0) | select.POLLHUP)
    poll.poll()
    os._exit(0)


def _memory() -> int:
    """Resident bytes of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  read on every start; plain is fine
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _load(load: wire.Load, confined: Confined, link: Channel, ranks: Ranks | None) -> Session | None:
    started = time.monotonic()
    session = Session(load)
    try:
        with behind_others() if load.background else nullcontext():
            report = session.open()
    except LoadError as error:
        tell = link.send if ranks is None else ranks.load_failed
        tell(_told(error))
        return None
    others = 0 if ranks is None else ranks.wait_until_loaded()
    told = confined.report()
    report = {**report, "lines": [*report["lines"], *told.pop("lines")], "confinement": told}
    link.send(wire.Loaded(time.monotonic() - started, report, _memory() + others))
    return session


def _told(error: LoadError) -> wire.LoadFailed:
    return wire.LoadFailed(error.kind, error.message, error.trace, error.out_of_memory)


def _confined(load: wire.Load, link: Channel) -> Confined | None:
    """What holds from here on; None when that failed, which the other end has been told."""
    try:
        return confine(load)
    except (CannotLoad, OSError) as error:
        link.send(_told(load_error(error, Path(load.model_dir))))
        return None


def work(fd: int, followers: Sequence[Follower] = ()) -> int:
    """Serve one model over the socket `fd` until the other end closes it: the front end's, or rank 0's. Returns the
    exit status. `followers`: the worker's other processes, if this is the first of several."""
    # Lines go to the front end's log, which adds time, model and worker.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    sock = socket.socket(fileno=fd)
    link = Channel(sock)
    load = link.receive()
    if not isinstance(load, wire.Load):
        return 0
    # Before there is a second thread, which would stay outside.
    confined = _confined(load, link)
    if confined is None:
        return 1
    threading.Thread(target=_end_with_other_end, args=(sock,), daemon=True, name="front-end-watch").start()
    # The order to another rank comes from the first and says where they meet.
    ranks = Ranks(followers, link.send) if load.world and not load.port else None
    load = enter(load if ranks is None else ranks.begin(load))
    session = _load(load, confined, link, ranks)
    if session is None:
        return 1
    # What is loaded stays; the collector need not walk over it again and again while serving.
    gc.collect()
    gc.freeze()
    _serve(session, link, load.rank, ranks)
    return 0


def _serve(session: Session, link: Channel, rank: int, ranks: Ranks | None) -> None:
    if session.is_continuous:
        serve(session.continuous(link.send), link.receive)
    elif session.beside_others:
        Beside(session, link.receive, link.send).serve()
    elif ranks is not None:
        _lead(session, link, ranks)
    elif rank:
        _follow(session, link)
    else:
        while isinstance(frame := link.receive(), wire.Run):
            link.send(session.run(frame.rows, frame.batch, link.send))


def _lead(session: Session, link: Channel, ranks: Ranks) -> None:
    while isinstance(frame := link.receive(), wire.Run):
        ranks.run(frame)
        link.send(ranks.answered(session.run(frame.rows, frame.batch, link.send)))


def _follow(session: Session, link: Channel) -> None:
    while isinstance(frame := link.receive(), wire.Run):
        link.send(outcome(session.run(frame.rows, frame.batch, lambda _pieces: None)))
