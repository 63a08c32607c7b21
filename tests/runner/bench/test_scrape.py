"""The server's metrics before and after → what it did in between. The metrics are the server's own code."""

from __future__ import annotations

import pytest

from runner.bench.scrape import batches, between, snapshot
from runner.metrics import Metrics


def told(metrics):
    return snapshot(metrics.exposition().decode(), "m")


def test_what_happened_before_does_not_count():
    metrics = Metrics()
    model = metrics.model("m", "1.0")
    model.answered(5.0, 9.0)
    model.batch(1, 4.0, {"handle": 4.0}, [])
    before = told(metrics)
    for _ in range(8):
        model.answered(0.001, 0.006)
    model.batch(6, 0.005, {"handle": 0.004, "inference": 0.003}, [])
    model.batch(2, 0.005, {"handle": 0.004, "inference": 0.001}, [])
    found = between(before, told(metrics))
    assert (found.rows, found.batches, found.mean_batch) == (8, 2, 4.0)
    assert found.batch_sizes == {"2": 1, "8": 1}
    assert (found.queue_ms, found.handler_ms, found.request_ms) == pytest.approx((1.0, 4.0, 6.0))
    assert found.other_ms == pytest.approx(1.0)
    assert found.phases_ms == pytest.approx({"inference": 2.0})
    assert 2.5 <= found.handler_quantiles_ms["p50"] <= 5.0


def test_workers_that_came_back_in_between_are_counted():
    metrics = Metrics()
    model = metrics.model("m", "1.0")
    model.restarts = 3
    before = told(metrics)
    model.answered(0.001, 0.006)
    model.batch(1, 0.004, {"handle": 0.004}, [])
    model.restarts = 5
    assert between(before, told(metrics)).restarts == 2


def test_other_models_and_other_servers_say_nothing():
    metrics = Metrics()
    metrics.model("other", "1.0").answered(0.0, 1.0)
    assert told(metrics) is None
    assert snapshot("# TYPE ts_inference_requests_total counter\nts_inference_requests_total 3.0\n", "m") is None


def test_a_round_without_an_answer_has_no_account():
    metrics = Metrics()
    metrics.model("m", "1.0").answered(0.0, 1.0)
    assert between(told(metrics), told(metrics)) is None


def test_between_readings_batches_have_a_mean_size_and_none_where_there_were_none():
    metrics = Metrics()
    model = metrics.model("m", "1.0")
    model.batch(9, 1.0, {"handle": 1.0}, [])
    read = [(0.0, told(metrics))]
    model.batch(2, 0.1, {"handle": 0.1}, [])
    model.batch(4, 0.1, {"handle": 0.1}, [])
    read.append((1.0, told(metrics)))
    read.append((2.0, told(metrics)))
    assert batches(read) == [(0.5, 3.0)]
