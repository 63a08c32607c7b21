"""A trace → events, each with what is around it and its own time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.profile.events import Kind, placed
from tests.runner.profile.made import COPY, KERNEL, RANGE, TWO_BATCHES, entry, traced


def by_name(events, name):
    return [each for each in events if each.event.name == name]


def test_what_is_neither_operator_nor_range_nor_device_work_is_left_out():
    others = [
        {"ph": "M", "name": "process_name"},
        entry("PyTorch Profiler (0)", 0, 9, "Trace"),
        {"ph": "i", "cat": "cpu_op"},
    ]
    assert traced(*others, entry("aten::add", 0, 1))[0].kind is Kind.OPERATOR
    assert len(traced(*others)) == 0


def test_shapes_are_those_of_tensors_alone():
    (event,) = traced(entry("aten::addmm", 0, 1, **{"Input Dims": [[4], [8, 4], [], [[2, 3]]]}))
    assert event.shapes == "4, 8×4"


def test_an_event_is_inside_what_was_open_when_it_began_and_own_time_is_without_what_is_inside():
    found = placed(traced(*TWO_BATCHES), "batch")
    first, second = by_name(found, "aten::addmm")
    assert first.path == ("batch", "inference", "forward", "layer.0 Linear", "aten::linear") == second.path
    assert [each.own for each in by_name(found, "aten::linear")] == [100, 100]
    assert [each.own for each in by_name(found, "layer.0 Linear")] == [0, 0]


def test_what_ends_where_the_next_begins_is_its_neighbour():
    found = placed(traced(entry("batch", 0, 10, RANGE), entry("a", 0, 5), entry("b", 5, 5)), "batch")
    assert [each.path for each in found if each.event.name != "batch"] == [("batch",), ("batch",)]


def test_what_is_outside_the_batches_does_not_count():
    assert [
        each.event.name for each in placed(traced(entry("aten::add", 0, 5), entry("batch", 9, 5, RANGE)), "batch")
    ] == ["batch"]


def test_a_kernel_counts_for_the_operator_that_started_it():
    kernels = [
        entry("gemm", 400, 300, KERNEL, tid=7, **{"External id": 5}),
        entry("Memcpy HtoD (Pageable -> Device)", 300, 40, COPY, tid=7, **{"External id": 5, "bytes": 64}),
    ]
    found = placed(
        traced(entry("batch", 0, 100, RANGE), entry("aten::mm", 1, 9, **{"External id": 5}), *kernels), "batch"
    )
    assert [each.device for each in by_name(found, "aten::mm")] == [340]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=20))
def test_own_times_of_nested_events_add_up_to_the_whole(spans):
    """However they lie inside the batch: each is cut to fit into the one it began in."""
    ends, entries = [1000.0], [entry("batch", 0, 1000, RANGE)]
    at = 0.0
    for gap, took in spans:
        at += gap
        while len(ends) > 1 and ends[-1] <= at:
            ends.pop()
        end = min(at + took, ends[-1])
        if end > at:
            entries.append(entry("op", at, end - at))
            ends.append(end)
    assert abs(sum(each.own for each in placed(traced(*entries), "batch")) - 1000) < 1e-6
