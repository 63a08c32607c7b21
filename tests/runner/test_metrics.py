from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from runner import wire
from runner.metrics import Gauges, Histogram, Metrics
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
    assert found["ts_queue_latency_microseconds_total", LABELS] == 250_000
    assert found["ts_inference_latency_microseconds_total", LABELS] == 500_000


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
        model.batch(1, {}, [counter, gauge])
    found = samples(metrics)
    labels = (("Level", "Model"), *LABELS)
    assert found["Seen_total", labels] == 5
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
    metrics.gauges = [Gauges(("m", "1"), 0, 0, 1, 1, {"steps": steps, "speedup": {"8": 3.5}})]
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
