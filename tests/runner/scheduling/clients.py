"""Clients that remember what they were told."""

from __future__ import annotations

from typing import Any

from runner.scheduling.job import Job


class Recorder:
    """Keeps every answer it gets, so that a test can count them."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.pieces: list[Any] = []
        self.reminders = 0

    def deliver(self, answer: Any) -> None:
        self.answers.append(answer)

    def piece(self, reply: Any) -> None:
        assert not self.answers
        self.pieces.append(reply)

    def still_waiting(self) -> None:
        self.reminders += 1


def make_job(row: Any = "row", *, arrived: float = 0.0, deadline: float | None = None) -> Job:
    """A job with a recording client."""
    return Job(row, arrived, Recorder(), deadline)


def answers(job: Job) -> list[Any]:
    """What the job's client was told."""
    assert isinstance(job.client, Recorder)
    return job.client.answers


def pieces(job: Job) -> list[Any]:
    """The pieces that the job's client got."""
    assert isinstance(job.client, Recorder)
    return job.client.pieces
