"""One accepted request and its life, as a table of transitions.

Rules of the room
1. A job is answered exactly once: ANSWERED and WITHDRAWN have no way out.
2. Once a piece of its answer went out, a job is not tried again and its deadline is met: STREAMING has no REQUEUE
   and no EXPIRE.
3. Whatever happens to a job is an `Event`; an event that the table does not know raises `LifeError`, which is
   a bug of ours, never a condition to handle.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol


class State(Enum):
    QUEUED = "queued"
    SENT = "sent"
    STREAMING = "streaming"
    ANSWERED = "answered"
    WITHDRAWN = "withdrawn"


class Event(Enum):
    TAKE = "take"
    REQUEUE = "requeue"
    PIECE = "piece"
    ANSWER = "answer"
    EXPIRE = "expire"
    GONE = "gone"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.QUEUED: {
        Event.TAKE: State.SENT,
        Event.ANSWER: State.ANSWERED,
        Event.EXPIRE: State.ANSWERED,
        Event.GONE: State.WITHDRAWN,
    },
    State.SENT: {
        Event.REQUEUE: State.QUEUED,
        Event.PIECE: State.STREAMING,
        Event.ANSWER: State.ANSWERED,
        Event.EXPIRE: State.ANSWERED,
        Event.GONE: State.WITHDRAWN,
    },
    State.STREAMING: {
        Event.PIECE: State.STREAMING,
        Event.ANSWER: State.ANSWERED,
        Event.GONE: State.WITHDRAWN,
    },
    State.ANSWERED: {},
    State.WITHDRAWN: {},
}


class LifeError(Exception):
    """This is a bug: an event met a job in a state that cannot take it."""

    def __init__(self, event: Event, job: Job) -> None:
        super().__init__(f"cannot {event.name} a job that is {job.state.name} (job {job.row!r})")


class Cause(Enum):
    """Why a job is answered without a reply from the handler."""

    RAISED = "raised"  # the handler raised, or returned something that is no answer
    KILLED = "killed"  # its worker died under it, twice
    HUNG = "hung"  # its worker gave no answer within responseTimeout
    EXPIRED = "expired"  # its own deadline passed
    NO_WORKER = "no worker"  # the model's workers cannot be started
    LOST = "lost"  # of a sequence whose worker ended, and its state with it
    STOPPED = "stopped"  # the server or the model was stopped before it ran


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a job that has no reply. `status`, `kind` and `message` come from the worker, for RAISED."""

    cause: Cause
    status: int = 0
    kind: str = ""
    message: str = ""


class Client(Protocol):
    """Who asked."""

    def deliver(self, answer: Any) -> None:
        """Take the one answer: a reply or a `Failure`. After pieces it is the last piece, or the stream is broken."""

    def piece(self, reply: Any) -> None:
        """Take a piece of the answer; `deliver` follows."""

    def still_waiting(self) -> None:
        """Hear, now and then, that there is no answer yet: the moment to find out whether anybody still listens."""


class Job:
    """A request from admission to its answer.

    `row` is what travels to the worker, `deadline` is in monotonic seconds or None, `deaths` counts the workers
    that died while running it.
    """

    __slots__ = ("arrived", "client", "deadline", "deaths", "row", "sent", "state")

    def __init__(self, row: Any, arrived: float, client: Client, deadline: float | None = None) -> None:
        self.row = row
        self.arrived = arrived
        self.client = client
        self.deadline = deadline
        self.sent = arrived
        self.deaths = 0
        self.state = State.QUEUED

    def advance(self, event: Event) -> None:
        """Take the step that the table allows; raises LifeError for any other."""
        after = TRANSITIONS[self.state].get(event)
        if after is None:
            raise LifeError(event, self)
        self.state = after

    @property
    def is_open(self) -> bool:
        return self.state not in (State.ANSWERED, State.WITHDRAWN)

    @property
    def is_streaming(self) -> bool:
        return self.state is State.STREAMING
