"""A source read while a round runs."""

from __future__ import annotations

import threading

from runner.bench.readings import Readings


def test_it_is_read_at_the_begin_in_between_and_at_the_end():
    asked = threading.Semaphore(0)
    texts = iter(map(str, range(1000)))

    def ask():
        asked.release()
        return next(texts)

    readings = Readings(ask, every=0.001)
    readings.begin()
    assert asked.acquire(timeout=10) and asked.acquire(timeout=10)
    read = readings.end()
    assert [text for _, text in read] == [str(number) for number in range(len(read))] and len(read) >= 3
    assert [at for at, _ in read] == sorted(at for at, _ in read)


def test_a_source_that_tells_nothing_is_asked_once():
    asked = []
    readings = Readings(lambda: asked.append(1), every=0.0)
    readings.begin()
    assert readings.end() == [] and asked == [1]


def test_one_that_falls_silent_keeps_what_it_told():
    texts = iter(["first"])
    readings = Readings(lambda: next(texts, None), every=60.0)
    readings.begin()
    assert [text for _, text in readings.end()] == ["first"]
