from __future__ import annotations

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from runner import wire
from runner.counting import Histogram
from runner.host_metrics import HOST, HostMetrics
from runner.metrics import Gauges, Metrics
from runner.scheduling.job import Cause


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


LABELS = (("model_name", "m"), ("model_version", "1"))


def test_a_value_on_a_bound_belongs_to_that_bucket() -> None:
    histogram = Histogram((1, 2))
    for value in (1, 1.5, 2, 3):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 1.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert histogram.total == 7.5


def test_torchserves_latency_counters_are_sums_in_microseconds() -> None:
    metrics = Metrics()
    metrics.model("m", "1").answered(queue=0.25, total=0.5)
    found = samples(metrics)
    host = (("hostname", HOST), *LABELS)
    assert found["ts_queue_latency_microseconds", host] == 250_000
    assert found["ts_inference_latency_microseconds", host] == 500_000
    assert found["ts_inference_requests_total", host] == 1
    assert found["QueueTime", (("Hostname", HOST), ("Level", "Host"))] == 250


def test_failures_are_counted_by_cause() -> None:
    metrics = Metrics()
    metrics.model("m", "1").failed(Cause.HUNG)
    assert samples(metrics)["archive_failed_rows_total", (("cause", "hung"), *LABELS)] == 1


def test_a_handlers_counters_add_up_and_its_gauges_keep_the_last_value() -> None:
    metrics = Metrics()
    model = metrics.model("m", "1")
    for value in (2.0, 3.0):
        counter = wire.Metric("Seen", value, "count", "counter", {"Level": "Model"})
        gauge = wire.Metric("Depth", value, "count", "gauge", {"Level": "Model"})
        model.batch(1, 0.1, {}, [counter, gauge])
    found = samples(metrics)
    labels = (("Hostname", HOST), ("Level", "Model"), *LABELS)
    assert found["Seen", labels] == 5
    assert found["Depth", labels] == 3


def test_answers_are_counted_by_status() -> None:
    metrics = Metrics()
    for status in (200, 200, 503):
        metrics.response(status)
    found = samples(metrics)
    assert found["archive_http_responses_total", (("status", "200"),)] == 2
    assert found["archive_http_responses_total", (("status", "503"),)] == 1


def test_the_optimisation_report_is_scraped() -> None:
    steps = [
        {"name": "precision", "declared": "bf16", "applied": "bf16 (cast)", "status": "applied"},
        {"name": "compile", "declared": "inductor", "applied": "eager", "status": "fallback"},
        {"name": "attention", "declared": None, "applied": None, "status": "not-declared"},
    ]
    metrics = Metrics()
    metrics.gauges = [Gauges(("m", "1"), 0, 0, 1, 1, {}, {"steps": steps, "speedup": {"8": 3.5}})]
    found = samples(metrics)
    applied = {dict(labels)["step"]: value for (name, labels), value in found.items() if name.endswith("_applied")}
    assert applied == {"precision": 1, "compile": 0}
    assert found["archive_optimisation_speedup", (("batch", "8"), *LABELS)] == 3.5


def test_a_version_that_comes_back_counts_on_and_is_scraped_once() -> None:
    metrics = Metrics()
    metrics.model("m", "1").failed(Cause.HUNG)
    metrics.model("m", "1").failed(Cause.HUNG)
    lines = [line for line in metrics.exposition().decode().splitlines() if not line.startswith("#")]
    series = [line.rpartition(" ")[0] for line in lines]
    assert len(series) == len(set(series))
    assert samples(metrics)["archive_failed_rows_total", (("cause", "hung"), *LABELS)] == 2


def test_a_handlers_histogram_is_one() -> None:
    metrics = Metrics()
    values = [wire.Metric("Size", value, "Bytes", "histogram", {"Level": "Model"}) for value in (0.2, 3)]
    metrics.model("m", "1").batch(2, 0.6, {"handle": 0.5}, values)
    found = samples(metrics)
    labels = (("Hostname", HOST), ("Level", "Model"), *LABELS)
    assert (found["Size_count", labels], found["Size_sum", labels]) == (2, 3.2)
    assert found["Size_bucket", (*labels[:2], ("le", "0.25"), *LABELS)] == 1
    assert found["PredictionTime", (("Hostname", HOST), ("Level", "Model"), ("ModelName", "m"))] == 500


def test_answers_are_counted_by_torchserves_classes() -> None:
    metrics = Metrics()
    for status in (200, 201, 404, 503):
        metrics.response(status)
    found = samples(metrics)
    counts = [found[f"Requests{first}XX", (("Hostname", HOST), ("Level", "Host"))] for first in (2, 4, 5)]
    assert counts == [2, 1, 1]


def test_the_machine_is_described_in_torchserves_units() -> None:
    metrics = Metrics()
    metrics.add_host(HostMetrics(lambda: [("0", 50.0, 1000.0, 4000.0)]))
    asyncio.run(metrics.refresh())
    found = samples(metrics)
    host = (("Hostname", HOST), ("Level", "Host"))
    gpu = (("DeviceId", "0"), *host)
    used, free = found["MemoryUsed", host], found["MemoryAvailable", host]
    assert 0 < used + free < 1 << 30
    assert 0 <= found["CPUUtilization", host] <= 100
    assert found["DiskUsage", host] > 0
    assert (found["GPUUtilization", gpu], found["GPUMemoryUsed", gpu], found["GPUMemoryUtilization", gpu]) == (
        50,
        1000,
        25,
    )


def test_some_metrics_can_be_asked_for_by_name() -> None:
    metrics = Metrics()
    metrics.response(200)
    text = metrics.exposition(["Requests2XX", "archive_http_responses"]).decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names == {"Requests2XX", "archive_http_responses"}


def test_a_worker_is_described_in_torchserves_milliseconds() -> None:
    metrics = Metrics()
    metrics.model("m", "1").batch(1, 0.75, {"handle": 0.5}, [])
    metrics.gauges = [Gauges(("m", "1"), 0, 0, 2, 2, {0: 1.5, 1: 2.0})]
    found = samples(metrics)
    host = (("Hostname", HOST), ("Level", "Host"))
    assert found["WorkerThreadTime", host] == 250
    assert found["WorkerLoadTime", (*host, ("WorkerName", "W-0-m_1"))] == 1500
    assert found["WorkerLoadTime", (*host, ("WorkerName", "W-1-m_1"))] == 2000
