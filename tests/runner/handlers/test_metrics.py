from __future__ import annotations

import pytest

from runner import wire
from runner.handlers.metrics import Dimension, Metrics, MetricTypes

MODEL = {"ModelName": "digits", "Level": "Model"}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (lambda m: m.add_counter("Seen", 2), wire.Metric("Seen", 2.0, "Count", "counter", MODEL)),
        (lambda m: m.add_time("T", 3, 0), wire.Metric("T", 3.0, "Milliseconds", "gauge", MODEL)),
        (lambda m: m.add_time("T", 3, None, "s"), wire.Metric("T", 3.0, "Seconds", "gauge", MODEL)),
        (lambda m: m.add_size("S", 1), wire.Metric("S", 1.0, "Megabytes", "gauge", MODEL)),
        (lambda m: m.add_percent("P", 50), wire.Metric("P", 50.0, "Percent", "gauge", MODEL)),
        (lambda m: m.add_error("E", 1), wire.Metric("E", 1.0, "unit", "counter", {"Level": "Error"})),
        (
            lambda m: m.add_metric("L", 4, "ms", dimensions=[Dimension("k", 1)], metric_type=MetricTypes.HISTOGRAM),
            wire.Metric("L", 4.0, "Milliseconds", "histogram", {"k": "1", **MODEL}),
        ),
    ],
)
def test_each_way_to_report_a_value_becomes_one_metric(report, expected):
    metrics = Metrics("digits")

    report(metrics)

    assert metrics.drain() == [expected]
    assert metrics.drain() == []


def test_a_declared_metric_is_found_again_and_reports_after_a_drain():
    metrics = Metrics("digits")
    metrics.add_metric_to_cache("Tokens", "count", ["language"])
    metrics.drain()

    metrics.get_metric("Tokens").add_or_update(7, ["en"])

    assert metrics.drain() == [wire.Metric("Tokens", 7.0, "Count", "counter", {"language": "en"})]


def test_a_metric_that_was_not_declared_is_a_key_error():
    with pytest.raises(KeyError, match="no counter named 'Tokens' was declared"):
        Metrics("digits").get_metric("Tokens")


@pytest.mark.parametrize(("value", "dimensions"), [(-1, ["en"]), (1, [])])
def test_a_value_that_makes_no_sense_is_logged_and_dropped(caplog, value, dimensions):
    metrics = Metrics("digits")

    metrics.add_metric_to_cache("Tokens", "count", ["language"]).add_or_update(value, dimensions)

    assert metrics.drain() == []
    assert "metric Tokens" in caplog.text


def test_update_takes_other_dimensions_than_declared():
    metrics = Metrics("digits")

    metrics.add_metric_to_cache("Tokens", "count", ["language"]).update(1, "r1", [Dimension("host", "a")])

    assert metrics.drain()[0].dimensions == {"host": "a"}


def test_a_unit_that_is_no_time_is_refused():
    with pytest.raises(ValueError, match="the unit of a time is one of ms, s, not 'min'"):
        Metrics("digits").add_time("T", 1, unit="min")


def test_a_dimension_prints_as_torchserve_writes_it():
    assert (str(Dimension("a", "b")), Dimension("a", "b").to_dict()) == ("a:b", {"Name": "a", "Value": "b"})


@pytest.fixture
def defined() -> Metrics:
    """With metrics that a metrics.yaml defines."""
    names = {"Seen": ["ModelName", "Level"], "Kinds": ["Kind", "Level"], "Errors": ["Level"]}
    definitions = [wire.MetricDefinition(name, "ms", "gauge", dimensions) for name, dimensions in names.items()]
    return Metrics("digits", definitions)


def test_what_is_defined_holds_whatever_the_call_says(defined):
    defined.add_counter("Seen", 2)
    defined.add_metric("Kinds", 3, "GB", dimensions=[Dimension("Kind", "a")])
    defined.add_error("Errors", 1)

    assert defined.drain() == [
        wire.Metric("Seen", 2.0, "Milliseconds", "gauge", MODEL),
        wire.Metric("Kinds", 3.0, "Milliseconds", "gauge", {"Kind": "a", "Level": "Model"}),
        wire.Metric("Errors", 1.0, "Milliseconds", "gauge", {"Level": "Error"}),
    ]


def test_a_defined_metric_is_found_by_its_name_and_type(defined):
    defined.get_metric("Kinds", MetricTypes.GAUGE).add_or_update(4, ["a", "Model"])

    assert defined.drain()[0].dimensions == {"Kind": "a", "Level": "Model"}
    with pytest.raises(KeyError, match="no counter named 'Kinds' was declared"):
        defined.get_metric("Kinds")


@pytest.mark.parametrize("dimensions", [[], [Dimension("Kind", "a"), Dimension("More", "b")]])
def test_a_value_with_other_dimensions_than_defined_is_logged_and_dropped(defined, caplog, dimensions):
    defined.add_metric("Kinds", 1, "ms", dimensions=dimensions)

    assert defined.drain() == []
    assert "do not match ['Kind', 'Level'], which are defined" in caplog.text


def test_a_defined_metric_keeps_its_type_when_a_handler_declares_it_otherwise(defined):
    defined.add_metric_to_cache("Seen", "count", ["Level"]).add_or_update(1, ["Model"])

    assert defined.drain() == [wire.Metric("Seen", 1.0, "Count", "gauge", {"Level": "Model"})]


def test_what_is_not_defined_is_as_the_call_says(defined):
    defined.add_counter("Other", 1)

    assert defined.drain() == [wire.Metric("Other", 1.0, "Count", "counter", MODEL)]
