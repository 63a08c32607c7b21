from __future__ import annotations

import pytest

from archiver.errors import UsageError
from runner.tune.asked import goal, numbers, seconds, wanted
from runner.tune.facts import Goal

NOTHING = (None,) * 6


@pytest.mark.parametrize(
    ("text", "value"), [("100ms", 0.1), ("1.5s", 1.5), ("10m", 600), ("1h", 3600), (" 2 min", 120)]
)
def test_a_time_has_a_unit(text, value):
    assert seconds("--budget", text, "10m") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "100", "-1s", "0ms", "1 week", "ms", "inf s", "1e3s"])
def test_what_is_no_time_is_a_usage_error_with_an_example(text):
    with pytest.raises(UsageError, match="--sla-p99 .*expected a number above 0 with its unit") as caught:
        seconds("--sla-p99", text, "100ms")
    assert caught.value.hint == "--sla-p99 100ms"


def test_latency_is_measured_at_one_at_a_time_unless_a_load_is_asked_for():
    assert goal("latency", "100ms", None, None) == Goal("latency", 100.0, (1,))
    assert goal("latency", None, "4,8", None).concurrency == (4, 8)
    assert goal("latency", None, None, 50.0) == Goal("latency", None, None, 50.0)


def test_throughput_at_a_given_rate_is_a_usage_error_with_what_to_ask_instead():
    with pytest.raises(UsageError) as caught:
        goal("throughput", "100ms", None, 50.0)
    assert caught.value.hint is not None and "--objective latency --rate 50" in caught.value.hint


def test_two_loads_are_a_usage_error():
    with pytest.raises(UsageError, match="--concurrency is a closed loop, --rate an open one"):
        goal("latency", None, "4", 50.0)


def test_a_wrong_word_is_told_with_what_is_near():
    with pytest.raises(UsageError, match=r"--precisions fp32,bf61: expected fp32, tf32, .*int8-dynamic") as caught:
        wanted(None, "fp32,bf61", *NOTHING[2:])
    assert caught.value.hint == "did you mean bf16?"


def test_words_become_values():
    found = wanted("gpu,cpu", "fp32,int8-dynamic", "on,off", "8,1", "2", "1,1")
    assert (found.devices, found.precisions) == (("cuda", "cpu"), ("fp32", "int8-dynamic"))
    assert (found.compiled, found.batch_sizes, found.threads) == ((True, False), (8, 1), (1,))
    assert wanted(*NOTHING).workers is None


@pytest.mark.parametrize("text", ["", "0", "1.5", "a", "-2", "1;2"])
def test_what_is_no_count_is_a_usage_error(text):
    with pytest.raises(UsageError, match="expected whole numbers from 1 on with commas"):
        numbers("--workers", text)
