"""The load: the generator of `archive bench`, in a closed loop over so many connections."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.side_by_side.cells import Cell, Depth
from benchmarks.side_by_side.records import Level
from benchmarks.side_by_side.running import JSON, DoesNotServe, Running
from runner.asking import Answer
from runner.bench import sender
from runner.bench.figures import Samples, percentile, samples
from runner.bench.inputs import Input
from runner.bench.sender import Generator, Way, requests_of, round_of

#: Seconds after which an answer is waited for no more.
_TIMEOUT = 30.0


def closed(generator: Generator, running: Running, cell: Cell, connections: int, depth: Depth) -> Level:
    """So many requests under way at any time. Raises DoesNotServe when the server goes away."""
    way = Way(connections, None, connections, depth.warmup, depth.seconds, None, _TIMEOUT)
    found = _sent(generator, running, cell, way)
    rising = found.milliseconds()
    p50, p99 = (percentile(rising, percent) if len(rising) else None for percent in (50, 99))
    return Level(connections, found.throughput(), p50, p99, len(found.intended), found.failures())


def ceiling(generator: Generator, request: bytes, output: Any, connections: int) -> float:
    """What the generator itself reaches, with nothing behind it."""
    answer = Answer(json.dumps(output).encode(), JSON)
    return sender.ceiling(generator, request, answer, connections)


def _sent(generator: Generator, running: Running, cell: Cell, way: Way) -> Samples:
    inputs = [Input(running.server.form.body(each), JSON) for each in cell.what.samples()]
    requests = requests_of(running.target, inputs, {})
    order = round_of(way, (running.target.host, running.target.port), requests, seed=0)
    ended = generator.round(order, lambda: None)
    if ended.stopped is not None:
        raise DoesNotServe(f"under load: {ended.stopped}")
    return samples(ended)
