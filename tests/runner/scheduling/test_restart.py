from __future__ import annotations

from runner.scheduling.restart import Backoff


def test_the_first_death_is_repaired_at_once() -> None:
    assert Backoff(300).died(0.0) == 0.0


def test_a_worker_that_keeps_dying_waits_longer_each_time() -> None:
    backoff = Backoff(300)
    assert [backoff.died(0.0) for _ in range(6)] == [0.0, 1.0, 1.0, 2.0, 3.0, 5.0]


def test_waiting_has_a_ceiling() -> None:
    backoff = Backoff(10_000)
    delays = [backoff.died(0.0) for _ in range(50)]
    assert delays[-1] == 30.0


def test_an_answered_batch_forgives() -> None:
    backoff = Backoff(300)
    for _ in range(4):
        backoff.died(0.0)
    backoff.served()
    assert backoff.failures == 0
    assert backoff.died(1000.0) == 0.0


def test_after_the_retry_time_it_gives_up() -> None:
    backoff = Backoff(300)
    backoff.died(0.0)
    assert backoff.died(300.0) is not None
    assert backoff.died(300.1) is None
