from __future__ import annotations

from dataclasses import replace

from runner.tune import pruning
from runner.tune.facts import Goal
from runner.tune.pruning import AFTER, prune
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import GB, eager, make_alone, make_known, make_space


def candidate(batch_size=8, workers=1, **variant):
    return Candidate(eager(**variant), workers, batch_size)


def test_more_threads_than_cores_are_out():
    assert pruning.too_many_threads(candidate(workers=2, threads=2), make_known()) == (
        "2 workers × 2 threads are more than the 2 cores"
    )
    assert pruning.too_many_threads(candidate(workers=2, threads=1), make_known()) is None


def test_a_batch_that_alone_takes_longer_than_the_limit_is_out():
    known = make_known(Goal("throughput", 50.0), [make_alone(eager(), {1: 55.0, 8: 90.0})])
    assert pruning.slow_batch(candidate(1), known) == (
        "batches of 1 and more take 55 ms and more alone, the limit is 50 ms"
    )


def test_a_batch_size_stays_whose_smaller_batches_keep_the_limit():
    within = make_space(batch_sizes=(1, 8, 16))
    known = make_known(Goal("throughput", 50.0), [make_alone(eager(), {1: 10.0, 8: 60.0})], within)
    assert pruning.slow_batch(candidate(8), known) is None, "batches of 5 do"
    assert pruning.slow_batch(candidate(16), known) == (
        "batches of 9 and more take 60 ms and more alone, the limit is 50 ms"
    )


def test_without_a_limit_no_batch_is_too_slow():
    known = make_known(Goal("throughput", None), [make_alone(eager(), {8: 9000.0})])
    assert pruning.slow_batch(candidate(8), known) is None


def test_workers_that_do_not_fit_into_memory_are_out_and_what_they_share_counts_once():
    known = make_known(alone=[make_alone(eager(), {1: 1.0}, memory=3 * GB, base=GB)])
    tight = replace(known, machine=replace(known.machine, free=4 * GB))
    assert pruning.no_memory(candidate(workers=2), tight) == "2 workers need some 5.0 GB, 4.0 GB are free"
    assert pruning.no_memory(candidate(workers=1), tight) is None


def test_as_many_servers_stay_as_fit_into_memory_together():
    known = make_known(alone=[make_alone(eager(), {1: 1.0}, memory=3 * GB, base=GB)])
    two = [candidate(), candidate(batch_size=16)]
    assert pruning.servers_at_once(two, known, 3) == 2
    assert pruning.servers_at_once([*two, candidate(workers=9)], known, 3) == 1, "never none"
    assert pruning.servers_at_once([], known, 3) == 3


def test_the_workers_of_one_gpu_share_its_memory():
    variant = replace(eager(), device="cuda")
    known = make_known(alone=[make_alone(variant, {1: 1.0}, gpu_memory=3 * GB)])
    known = replace(known, machine=replace(known.machine, gpus=2, gpu_free=6 * GB))
    assert (
        pruning.no_memory(Candidate(variant, 4, 8), known) == "2 workers on a GPU need some 7.0 GB, 6.0 GB are free"
    )
    assert pruning.no_memory(Candidate(variant, 2, 8), known) is None


def test_what_verify_or_the_device_refuses_is_out_in_their_words():
    why = "precision bf16: cosine 0.98000 to the model as loaded is below verify.minCosine 0.999"
    known = make_known(alone=[make_alone(eager(precision="bf16"), {}, refused=why)])
    assert pruning.not_served_so(candidate(precision="bf16"), known) == why


def test_what_is_not_faster_than_something_simpler_is_out():
    curves = {eager(): {1: 2.0, 8: 8.0}, eager(precision="bf16"): {1: 2.5, 8: 7.9}}
    known = make_known(alone=[make_alone(*each) for each in curves.items()])
    assert pruning.not_faster(candidate(precision="bf16"), known) == (
        "not faster than fp32 with 1 thread: at best 7.9 against 8 ms for a batch of 8"
    )


def test_what_is_faster_at_one_batch_size_stays():
    curves = {eager(): {1: 2.0, 8: 8.0}, eager(precision="bf16"): {1: 2.5, 8: 4.0}}
    known = make_known(alone=[make_alone(*each) for each in curves.items()])
    assert pruning.not_faster(candidate(precision="bf16"), known) is None


def test_something_simpler_that_is_refused_beats_nothing():
    known = make_known(
        alone=[make_alone(eager(), {1: 1.0}, refused="does not load"), make_alone(eager(threads=2), {1: 2.0})]
    )
    assert pruning.not_faster(candidate(threads=2), known) is None


def test_a_larger_batch_is_out_where_the_curve_is_flat():
    known = make_known(
        alone=[make_alone(eager(), {1: 2.0, 8: 16.0, 16: 32.0})],
        within=make_space(batch_sizes=(1, 8, 16)),
    )
    assert pruning.flat_curve(candidate(16), known) == (
        "batches of 16 bring no more rows a second than of 8: 495 a second"
    )
    assert pruning.flat_curve(candidate(8), known) is None, "a server adds to each batch"
    assert pruning.flat_curve(candidate(1), known) is None


def test_what_cannot_keep_up_with_the_rate_is_out():
    known = make_known(Goal("latency", None, None, 500.0), [make_alone(eager(), {1: 4.0})])
    assert pruning.too_slow_for_rate(candidate(1), known) == "at most 250 a second alone, 500 are asked for"


def test_batches_that_a_fixed_load_never_fills_and_workers_that_it_never_needs_are_out():
    known = make_known(Goal("latency", None, (1,)), within=make_space(batch_sizes=(1, 8), workers=(1, 2)))
    assert pruning.empty_places(candidate(8), known) == "batches of 8 never fill with 1 at a time"
    assert pruning.idle_workers(candidate(1, workers=2), known) == "2 workers for 1 at a time"
    assert pruning.empty_places(candidate(1), known) is None
    assert pruning.idle_workers(candidate(1), known) is None


def test_only_the_first_reason_is_given():
    known = make_known(
        Goal("throughput", 1.0),
        [make_alone(eager(), {1: 5.0, 8: 50.0}, memory=99 * GB)],
        make_space(batch_sizes=(8,)),
    )
    left, out = prune([candidate(8)], known, AFTER)
    assert left == [] and list(out.values()) == ["1 workers need some 99.0 GB, 8.0 GB are free"]
