"""The two logs of metrics of TorchServe and of ours, for the same archive, definitions and requests: the same names,
units, dimensions and sums."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import running_server
from tests.interop.torchserve import free_ports, installed, properties

pytestmark = pytest.mark.interop

HANDLER = """
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

class Counting:
    def initialize(self, context): pass
    def handle(self, data, context):
        context.metrics.add_counter("Seen", len(data), 0)
        kind = [Dimension("Kind", "a")]
        context.metrics.add_metric("Depth", 3.5, "ms", 0, dimensions=kind, metric_type=MetricTypes.GAUGE)
        context.metrics.add_time("HandlerTime", 1.25, 0)
        return [1 for _ in data]
"""
DEFINED = """
model_metrics:
  counter:
    - {name: Seen, unit: count, dimensions: [ModelName, Level]}
  gauge:
    - {name: Depth, unit: ms, dimensions: [Kind, ModelName, Level]}
    - {name: HandlerTime, unit: ms, dimensions: [ModelName, Level]}
    - {name: PredictionTime, unit: ms, dimensions: [ModelName, Level]}
"""
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} - (\w+\.\w+):([\d.E-]+)"
    r"\|#(.*)\|#hostname:[^,]+,(?:requestID:[\w-]+,)?timestamp:\d+"
)
REQUESTS = 3


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[tuple[Path, Path]]:
    """The folders of both servers' logs, with everything said that is to be said."""
    torchserve = installed()
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "counting_handler.py").write_text(HANDLER)
    flags = ["--model-name", "m", "--version", "1.0", "--handler", "counting_handler.py", "--export-path", "."]
    torchserve.archiver(*flags, folder=folder)
    shipped = torchserve.bin.parent.glob("lib/python*/site-packages/ts/configs/metrics.yaml")
    own = next(shipped).read_text().partition("model_metrics:")[0]
    (folder / "metrics.yaml").write_text(own + DEFINED)
    more = "default_workers_per_model=1\nmetrics_mode=log\nmetric_time_interval=1\n"
    more += f"metrics_config={folder / 'metrics.yaml'}\n"
    (folder / "ours.properties").write_text(properties(ports := free_ports(5)) + more)
    options = ["--ts-config", folder / "ours.properties", "--model-store", folder, "--models", "m.mar"]
    with ExitStack() as running:
        theirs = running.enter_context(torchserve.serving(folder, ["m.mar"], folder, more))
        options += ["--metrics-log", folder / "ours"]
        server = running.enter_context(running_server(*options, cache=folder / "cache", port=None))
        for port in (theirs[0], ports[0]):
            ask(f"http://127.0.0.1:{port}/predictions/m")
        wait_for_all(folder / "logs")
        server.stop()
        yield folder / "logs", folder / "ours"


def ask(url: str) -> None:
    """So many requests that are answered; TorchServe is healthy before its worker is there."""
    deadline = time.monotonic() + 60
    answered = 0
    while answered < REQUESTS:
        answered += httpx.post(url, content=b"x", timeout=60).status_code == 200
        assert time.monotonic() < deadline


def wait_for_all(logs: Path) -> None:
    """TorchServe asks the machine in a process of its own, which takes its time."""
    deadline = time.monotonic() + 60
    while "DiskUtilization" not in (logs / "ts_metrics.log").read_text():
        assert time.monotonic() < deadline


def said(file: Path) -> list[tuple[str, float, str]]:
    """Name with unit, value, names of dimensions, of each line; every line is one."""
    found = [LINE.fullmatch(line) for line in file.read_text().splitlines()]
    assert found and None not in found, file.read_text()
    parts = [line.groups() for line in found if line is not None]
    return [(name, float(value), re.sub(r":[^,]*", "", of)) for name, value, of in parts]


@pytest.mark.parametrize("file", ["ts_metrics.log", "model_metrics.log"])
def test_the_lines_have_the_same_names_units_and_dimensions(both, file) -> None:
    # TorchServe answers 503 until its worker is there.
    refused = ("Requests5XX.Count", "Level")
    theirs, ours = ({(name, of) for name, _, of in said(folder / file)} - {refused} for folder in both)
    assert ours == theirs


def test_what_was_counted_is_the_same(both) -> None:
    sums = []
    for folder in both:
        counted: Counter[str] = Counter()
        for name, value, _ in [*said(folder / "ts_metrics.log"), *said(folder / "model_metrics.log")]:
            counted[name] += value
        sums.append([counted[name] for name in ("Seen.count", "Depth.ms", "HandlerTime.ms")])
    assert sums == [[REQUESTS, 3.5 * REQUESTS, 1.25 * REQUESTS]] * 2
