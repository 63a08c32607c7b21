"""The rounds of a bench: every level once per repeat, each repeat in the other order, so that a drift of the machine
falls on all levels alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from runner.bench import machine
from runner.bench.figures import Floats, Samples, percentile, samples, shape, summary, timeline
from runner.bench.messages import Ended
from runner.bench.probe import Account, Probe
from runner.bench.report import Level, Report, RoundFigures
from runner.bench.sender import Generator, GeneratorDied, Way, round_of


class Rounds:
    """Fills a report's levels. `told`: hears what is being done."""

    def __init__(self, report: Report, generator: Generator, probe: Probe, told: Callable[[str], None]) -> None:
        self._report = report
        self._generator = generator
        self._probe = probe
        self._told = told

    def run(self, ways: Sequence[Way], repeats: int, requests: Sequence[bytes]) -> None:
        """Until all are done, or the server is gone: then the report says so and keeps what was measured."""
        address = self._probe.address()
        levels = [Level(way.concurrency, way.rate) for way in ways]
        self._report.levels = levels
        latencies: list[list[Floats]] = [[] for _ in ways]
        for repeat, place in _order(len(ways), repeats):
            self._told(f"{levels[place].name}, round {repeat + 1} of {repeats}")
            load_average = machine.load_average()
            try:
                ended = self._generator.round(round_of(ways[place], address, requests, repeat), self._probe.begin)
            except GeneratorDied as error:
                self._report.stopped = str(error)
                return
            own = self._probe.end()
            found = samples(ended)
            if found.seconds > 0 and len(found.intended):
                latencies[place].append(found.milliseconds())
                levels[place].shape = shape(np.sort(np.concatenate(latencies[place])))
                levels[place].rounds.append(_figures(found, ended, own, load_average))
            if ended.stopped is not None:
                self._report.stopped = self._probe.server_end() or ended.stopped
                return


def _figures(found: Samples, ended: Ended, own: Account, load_average: float) -> RoundFigures:
    lag = found.lag()
    return RoundFigures(
        throughput=found.throughput(),
        requests=len(found.intended),
        failures=found.failures(),
        latency=summary(found.milliseconds()),
        from_sending=summary(found.from_sending()),
        lag_p99=percentile(lag, 99) if len(lag) else None,
        generator_busy=ended.busy / found.seconds,
        load_average=load_average,
        server=own.server,
        processes=own.processes,
        timeline=timeline(found),
        batches=own.batches,
    )


def _order(levels: int, repeats: int) -> Iterator[tuple[int, int]]:
    """Repeat and level, in the order in which they are measured."""
    for repeat in range(repeats):
        places = range(levels)
        yield from ((repeat, place) for place in (places if repeat % 2 == 0 else reversed(places)))
