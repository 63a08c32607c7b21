"""`archive bench` from the order to the report: open, start, ask once, ceiling, rounds, stop, limit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from archiver import __version__
from archiver.errors import ArchiveError, UsageError
from archiver.store import Unpacked, unpack
from runner.asking import post
from runner.bench import limit, machine, notes
from runner.bench.asked import Asked
from runner.bench.inputs import Inputs, of_archive, of_path
from runner.bench.probe import Probe
from runner.bench.report import Limit, Report
from runner.bench.rounds import Rounds
from runner.bench.sender import Generator, ceiling, requests_of
from runner.bench.server import Server
from runner.deploying import existing
from runner.settings import declared

_SECONDS = 60.0
#: Connections of the ceiling for an open loop.
_SOME = 64


class Bench:
    """One order on its way. `report` fills as it goes: whatever stops it, what was measured is there.

    Constructing it opens the archive and reads the inputs. Raises what that raises, and NoInput.
    """

    def __init__(self, asked: Asked, told: Callable[[str], None]) -> None:
        self._asked = asked
        self._told = told
        self._opened = None if asked.archive is None else unpack(existing(str(asked.archive)))
        self._inputs = _inputs(asked, self._opened)
        self.report = _blank(asked, self._inputs)

    def run(self) -> None:
        """Raises what keeps it from measuring anything; what comes later is told in the report."""
        try:
            with ExitStack() as stack:
                self._measure(stack)
            self._find_limit()
        except KeyboardInterrupt:
            self.report.stopped = "interrupted"
        self.report.notes += notes.of(self.report, self._asked.url is None)

    def _measure(self, stack: ExitStack) -> None:
        server = self._start(stack)
        target = server.target if server is not None else self._asked.url
        assert target is not None, "this is a bug: neither a server nor an address"
        probe = Probe(target, self._asked.headers, server)
        self._told("asking once")
        first = self._inputs.each[0]
        answer = post(target, first.body, first.content_type, _SECONDS, self._asked.headers)
        self.report.start_seconds = None if server is None else server.seconds
        self.report.target = f"{target.address}{target.path}"
        self.report.model |= _described(probe)
        generator = stack.enter_context(Generator())
        requests = requests_of(target, self._inputs.each, self._asked.headers)
        for connections in sorted({way.concurrency or _SOME for way in self._asked.ways}):
            self._told(f"the generator's own ceiling, {connections} connections")
            self.report.ceiling[str(connections)] = ceiling(generator, requests[0], answer, connections)
        Rounds(self.report, generator, probe, self._told).run(self._asked.ways, self._asked.repeats, requests)

    def _start(self, stack: ExitStack) -> Server | None:
        if self._asked.url is not None:
            return None
        assert self._asked.archive is not None, "this is a bug: nothing to start"
        self._told("starting the server")
        return stack.enter_context(Server(self._asked.archive, self._asked.arguments))

    def _find_limit(self) -> None:
        """Only where the server was ours: elsewhere the model may run on another machine."""
        sizes = {size for level in self.report.measured if (size := limit.batch_of(level)) is not None}
        if not self._asked.limit or self._asked.url is not None or self.report.stopped is not None or not sizes:
            return
        self._told("the model's own speed, without a server")
        try:
            found = self._limit_at(sizes)
        except ArchiveError as error:
            self.report.notes.append(f"the model's own speed could not be measured: {error}")
            return
        self.report.limit = found
        for level in self.report.measured:
            level.limit = found.rows_per_second.get(str(limit.batch_of(level)))

    def _limit_at(self, batches: set[int]) -> Limit:
        assert self._opened is not None, "this is a bug: a server was started of no archive"
        with tempfile.TemporaryDirectory(prefix="archive-bench-") as folder:
            return limit.measure(
                self._opened,
                self._asked.flags,
                workers=self.report.model["workers"],
                threads=self.report.model["threads"],
                batches=batches,
                inputs=self._inputs,
                folder=Path(folder),
                trusted=self._asked.trust,
            )


def _inputs(asked: Asked, opened: Unpacked | None) -> Inputs:
    if asked.input is not None:
        return of_path(asked.input, asked.content_type)
    if opened is None:
        raise UsageError("nothing to send: no archive, no input", hint="archive bench --url URL --input FILE")
    config = declared(opened.config_text, opened.manifest.config_file or "", lenient=True)
    return of_archive(opened, config.settle({}, None)[0].warmup.input, asked.content_type)


def _blank(asked: Asked, inputs: Inputs) -> Report:
    way = asked.ways[0]
    return Report(
        made=machine.now(),
        tool=f"torch-archive {__version__}",
        machine=machine.describe(),
        model={} if asked.archive is None else {"archive": str(asked.archive)},
        target="",
        input=inputs.source,
        warmup=way.warmup,
        duration=None if way.count is not None else way.duration,
        count=way.count,
    )


def _described(probe: Probe) -> dict[str, Any]:
    """The model as the server runs it."""
    found = probe.description()
    placement = found.get("placement", {})
    return {
        "name": probe.model,
        "version": found.get("modelVersion"),
        "device": placement.get("device"),
        "workers": placement.get("workers") or found.get("minWorkers") or 1,
        "threads": placement.get("threadsPerWorker") or 1,
        "batchSize": found.get("batchSize"),
        "maxBatchDelay": found.get("maxBatchDelay"),
        "applied": found.get("applied", {}).get("lines", []),
        "digest": found.get("archive", {}).get("digest"),
    }
