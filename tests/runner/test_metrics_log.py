"""TorchServe's two logs of metrics, line for line as TorchServe writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from runner import wire
from runner.host_metrics import HOST, HostMetrics
from runner.metrics import TORCHSERVE_UNITS, Gauges, Metrics
from runner.metrics_log import MetricsLog
from tests.runner.loops import in_loop

LINE = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{{3}} - (.*)\|#hostname:{re.escape(HOST)},timestamp:\d+")


def lines(file: Path) -> list[str]:
    """What each line says between its time and the host."""
    found = [LINE.fullmatch(line) for line in file.read_text().splitlines()] if file.exists() else []
    assert None not in found, file.read_text()
    return [line.group(1) for line in found if line is not None]


async def written(folder: Path, happens: Callable[[Metrics], None], **units: str) -> tuple[list[str], list[str]]:
    """The lines of both files when this happens while the log is written."""
    log = MetricsLog(folder, 3600, units)
    metrics = Metrics(log.counting)
    log.start(metrics, lambda: [Gauges(("m", "1"), 0, 0, 1, 1, {0: 1.25})])
    happens(metrics)
    await log.stop()
    return lines(folder / "ts_metrics.log"), lines(folder / "model_metrics.log")


def three_requests(metrics: Metrics) -> None:
    model = metrics.model("m", "1")
    for _ in range(3):
        metrics.response(200)
        model.answered(0.5, 2.0)
        model.batch(1, 0.75, {"handle": 0.25}, [])


@in_loop
async def test_the_server_is_told_of_as_torchserve_does(tmp_path: Path) -> None:
    server, models = await written(tmp_path, three_requests)
    assert server == [
        "ts_inference_requests_total.Count:3.0|#model_name:m,model_version:1",
        "ts_inference_latency_microseconds.Microseconds:6000000.0|#model_name:m,model_version:1",
        "ts_queue_latency_microseconds.Microseconds:1500000.0|#model_name:m,model_version:1",
        "Requests2XX.Count:3.0|#Level:Host",
        "QueueTime.Milliseconds:500.0|#Level:Host",
        "WorkerThreadTime.Milliseconds:500.0|#Level:Host",
        "WorkerLoadTime.Milliseconds:1250.0|#WorkerName:W-0-m_1,Level:Host",
    ]
    assert models == ["PredictionTime.ms:250.0|#ModelName:m,Level:Model"]


@in_loop
async def test_a_counters_lines_add_up_over_several_writings(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 3600, {})
    metrics = Metrics(log.counting)
    for _ in range(2):
        three_requests(metrics)
        log._write([*metrics.torchserve()], [])
    found = [line for line in lines(tmp_path / "ts_metrics.log") if line.startswith(("Requests", "QueueTime"))]
    assert found == [
        "Requests2XX.Count:3.0|#Level:Host",
        "QueueTime.Milliseconds:500.0|#Level:Host",
        "Requests2XX.Count:3.0|#Level:Host",
    ]


@in_loop
async def test_every_value_of_a_handler_has_a_line_in_the_unit_that_is_defined(tmp_path: Path) -> None:
    def happens(metrics: Metrics) -> None:
        counters = [wire.Metric("Seen", value, "Count", "counter", {"Level": "Model"}) for value in (1.0, 2.0)]
        time = wire.Metric("HandlerTime", 5.0, "Milliseconds", "gauge", {"ModelName": "m", "Level": "Model"})
        odd = wire.Metric("Odd", 1.5, "Seconds", "gauge", {"Kind": "a\nb"})
        metrics.model("m", "1").batch(1, 0.0, {}, [*counters, time, odd])
        # They are counted all the same.
        assert metrics.model("m", "1").custom["Seen", (("Level", "Model"),)].value == 3

    _, models = await written(tmp_path, happens, Odd="sec")
    assert models == [
        "Seen.Count:1.0|#Level:Model",
        "Seen.Count:2.0|#Level:Model",
        "HandlerTime.ms:5.0|#ModelName:m,Level:Model",
        "Odd.sec:1.5|#Kind:a b",
    ]


@in_loop
async def test_the_machine_has_a_line_each_time(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 3600, {})
    metrics = Metrics(log.counting)
    metrics.add_host(HostMetrics(lambda: [("0", 50.0, 1000.0, 4000.0)]))
    log.start(metrics, list)
    await log.stop()
    await metrics.refresh()
    log._write([*metrics.torchserve()], [])
    found = [line for line in lines(tmp_path / "ts_metrics.log") if line.startswith("GPUMemoryUsed")]
    assert found[-2:] == ["GPUMemoryUsed.Megabytes:1000.0|#Level:Host,DeviceId:0"] * 2


def test_every_metric_of_torchserves_has_its_unit() -> None:
    metrics = Metrics()
    metrics.add_host(HostMetrics(lambda: [("0", 50.0, 1000.0, 4000.0)]))
    metrics.model("m", "1")
    assert {family.name for family in metrics.torchserve()} <= set(TORCHSERVE_UNITS)


@in_loop
async def test_values_beyond_the_bound_are_counted_and_said(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("runner.metrics_log._MOST", 2)

    def happens(metrics: Metrics) -> None:
        values = [wire.Metric("Seen", 1.0, "Count", "counter", {}) for _ in range(5)]
        metrics.model("m", "1").batch(1, 0.0, {}, values)

    _, models = await written(tmp_path, happens)
    assert len(models) == 2
    assert "3 values of handlers are not in model_metrics.log" in caplog.text
