"""torch.compile: every size warm, nothing compiled afterwards, every failure eager with its reason."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch._dynamo
import torch._inductor.config

from runner.optimize.compile import CompileStep, check_backend
from runner.optimize.compile_plan import batch_sizes, usable_freezing, usable_mode
from runner.optimize.guarded import Guarded, guard_of
from runner.optimize.pipeline import optimise
from runner.optimize.report import Status
from runner.optimize.step import OptimiseRefused, StepFailed
from runner.optimize.tensors import tensors_in
from tests.runner.optimize.models import (
    CPU,
    EAGER,
    PLAIN,
    Scores,
    compiled,
    conv,
    encoder,
    normed,
    precision,
    scores,
)


@contextmanager
def backend(name, compile_fn):
    """`compile_fn` is a torch.compile backend called `name` while the block runs."""
    torch._dynamo.register_backend(compile_fn, name=name)
    try:
        yield
    finally:
        torch._dynamo.backends.registry._COMPILER_FNS.pop(name)
        torch._dynamo.backends.registry._BACKENDS.pop(name, None)


@pytest.fixture(autouse=True)
def freezing_put_back():
    freezing = torch._inductor.config.freezing
    yield
    torch._inductor.config.freezing = freezing


class Counting:
    """A backend that compiles to the graph as it is and counts."""

    def __init__(self):
        self.compiles = 0

    def __call__(self, graph, inputs, **options):
        self.compiles += 1
        return graph.forward


def broken(graph, inputs):
    raise RuntimeError("no such kernel\nmore lines")


def slow(graph, inputs):
    def run(*args):
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        return graph(*args)

    return run


@pytest.mark.parametrize("make", [scores, encoder])
@pytest.mark.parametrize("dynamic", ["auto", True, False])
@pytest.mark.parametrize("largest", [1, 4, 19])
def test_no_batch_size_compiles_anything_after_ready(make, dynamic, largest):
    counting = Counting()
    with backend("counting", counting):
        handler = make()
        config = compiled("counting", dynamic=dynamic, config=replace(PLAIN, batch_size=largest))
        row = optimise(handler, config, CPU).step("compile")
        before = counting.compiles
        for size in range(1, largest + 1):
            handler.answer(size)
    assert row.status is Status.APPLIED
    assert row.measured["compiles"] == before == counting.compiles


@pytest.mark.parametrize("make", [scores, encoder, conv, normed])
@pytest.mark.parametrize("buckets", [(1, 2, 4), (4,), (1, 8)])
def test_buckets_serve_every_size_without_another_compile(make, buckets):
    handler, plain = make(), make()
    counting = Counting()
    with backend("counting", counting):
        config = compiled("counting", pt2={"buckets": buckets}, config=replace(PLAIN, batch_size=max(buckets)))
        row = optimise(handler, config, CPU).step("compile")
        before = counting.compiles
        for size in range(1, max(buckets) + 1):
            same_tensors(handler.answer(size), plain.answer(size))
    assert (row.status, row.measured["shapes"]) == (Status.APPLIED, "buckets")
    assert before == counting.compiles == len(buckets)
    assert guard_of(handler.model).recompiles == guard_of(handler.model).failures == 0


@pytest.mark.parametrize("dynamic", ["auto", True])
def test_sequences_of_other_lengths_than_the_samples_run_compiled(dynamic):
    handler, plain = encoder(), encoder()
    optimise(handler, compiled("aot_eager", dynamic=dynamic), CPU)
    for batch, length in ((1, 3), (4, 11), (2, 29)):
        with torch.inference_mode():
            ids = torch.arange(batch * length).reshape(batch, length) % 50
            inputs = {"tokens": ids, "mask": torch.ones(batch, length, dtype=torch.bool)}
            same_tensors(handler.model(**inputs), plain.model(**inputs))
    assert guard_of(handler.model).recompiles == 0


def same_tensors(got, wanted):
    assert type(got) is type(wanted)
    for left, right in zip(tensors_in(got), tensors_in(wanted), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_a_batch_beyond_the_largest_bucket_runs_eager():
    handler, plain = scores(), scores()
    optimise(handler, compiled(pt2={"buckets": (1, 2)}), CPU)
    same_tensors(handler.answer(4), plain.answer(4))
    assert guard_of(handler.model).recompiles == 0


def test_every_bucket_and_an_odd_size_are_verified():
    config = compiled(pt2={"buckets": (2, 8)}, config=replace(PLAIN, batch_size=8))
    row = optimise(scores(), config, CPU).step("compile")
    assert list(row.measured["bySize"]) == ["1", "2", "3", "8"]
    assert all(
        set(each) == {"cosine", "maxAbsError", "maxRelError", "top1"} for each in row.measured["bySize"].values()
    )


def test_a_model_that_mixes_rows_is_refused_its_buckets():
    class Mixing(Scores):
        def forward(self, x):
            return super().forward(x - x.sum(dim=0))

    handler = scores()
    handler.model = Mixing().eval()
    config = compiled(pt2={"buckets": (4,)}, dynamic=True)
    row = optimise(handler, config, CPU).step("compile")
    assert "cosine" in row.measured["failed"]["buckets"]
    assert (row.status, row.measured["shapes"]) == (Status.APPLIED, "dynamic shapes")


@pytest.mark.parametrize(("dynamic", "compiles"), [("auto", 1), (True, 2), (False, 4)])
def test_a_dynamic_graph_serves_every_size(dynamic, compiles):
    row = optimise(scores(), compiled(dynamic=dynamic), CPU).step("compile")
    assert row.measured["compiles"] == compiles
    assert row.measured["graphBreaks"] == 0


def test_other_sequence_lengths_use_the_same_graph():
    handler = encoder()
    optimise(handler, compiled(), CPU)
    handler.inputs = lambda n: {"tokens": torch.ones(n, 11, dtype=torch.long), "mask": torch.ones(n, 11).bool()}
    handler.answer(3)
    assert guard_of(handler.model).recompiles == 0


def test_a_model_that_asks_for_its_batch_size_gets_the_next_kind_of_graph():
    class Asking(Scores):
        def forward(self, x):
            return super().forward(x if x.shape[0] > 2 else x + 0)

    handler = scores()
    handler.model = Asking().eval()
    row = optimise(handler, compiled(), CPU).step("compile")
    assert (row.status, row.measured["shapes"]) == (Status.APPLIED, "dynamic shapes")
    assert row.reason == "unbacked batch: graph breaks: 1"


def test_a_failure_that_no_other_shape_would_cure_is_not_tried_for_ever():
    tries = []

    def refusing(graph, inputs):
        tries.append(1)
        raise RuntimeError("no compiler")

    with backend("refusing", refusing):
        row = optimise(scores(), compiled("refusing"), CPU).step("compile")
    assert (row.status, len(tries)) == (Status.FALLBACK, 2)


def test_a_call_that_would_recompile_is_counted_and_answered_by_eager():
    handler, plain = scores(), scores()
    optimise(handler, compiled(dynamic=False), CPU)
    same_tensors(handler.answer(9), plain.answer(9))
    guard = guard_of(handler.model)
    assert (guard.recompiles, guard.failures, guard.eager_only) == (1, 0, False)


def test_after_ready_an_unknown_shape_runs_eager():
    counting = Counting()
    with backend("counting", counting):
        handler = scores()
        optimise(handler, compiled("counting", dynamic=False), CPU)
        before = counting.compiles
        assert handler.answer(9).shape == (9, 10)
    assert counting.compiles == before


def test_compiled_answers_are_eagers_answers():
    handler, plain = encoder(), encoder()
    row = optimise(handler, compiled("aot_eager"), CPU).step("compile")
    assert row.applied == "aot_eager, dynamic"
    assert torch.equal(handler.answer(3).states, plain.answer(3).states)


def test_a_failing_backend_means_eager_with_the_reason():
    handler, plain = scores(), scores()
    with backend("broken", broken):
        row = optimise(handler, compiled("broken"), CPU).step("compile")
    assert (row.status, row.applied) == (Status.FALLBACK, "eager")
    assert row.reason == "BackendCompilerFailed: backend='broken' raised: RuntimeError: no such kernel"
    assert "forward" not in handler.model.__dict__
    assert torch.equal(handler.answer(), plain.answer())


def test_a_graph_break_under_fullgraph_names_the_users_line():
    class Breaking(Scores):
        def forward(self, x):
            torch._dynamo.graph_break()
            return super().forward(x)

    handler = scores()
    handler.model = Breaking().eval()
    row = optimise(handler, compiled(fullgraph=True), CPU).step("compile")
    assert row.status is Status.FALLBACK
    assert "test_compile.py:" in row.reason


def test_graph_breaks_are_counted():
    class Breaking(Scores):
        def forward(self, x):
            torch._dynamo.graph_break()
            return super().forward(x)

    handler = scores()
    handler.model = Breaking().eval()
    row = optimise(handler, compiled(), CPU).step("compile")
    assert row.measured["graphBreaks"] > 0


def test_fallback_fail_refuses_to_load():
    handler = scores()
    with backend("broken", broken), pytest.raises(OptimiseRefused, match="compile: .*no such kernel.*pt2.fallback"):
        optimise(handler, compiled("broken", pt2={"fallback": "fail"}), CPU)
    assert "forward" not in handler.model.__dict__


def test_slower_than_eager_is_dropped_aloud():
    handler = scores()
    with backend("slow", slow):
        row = optimise(handler, compiled("slow", pt2={"min_speedup": 1.02, "fallback": "fail"}), CPU).step("compile")
    assert (row.status, row.applied) == (Status.FALLBACK, "eager")
    assert row.reason.endswith("slower than pt2.minSpeedup 1.02 asks")
    assert set(row.measured["speedup"]) == {"1", "4"}
    assert "forward" not in handler.model.__dict__


def test_without_a_sample_nothing_is_compiled():
    handler = scores(has_sample=False)
    row = optimise(handler, compiled(), CPU).step("compile")
    assert (row.status, row.applied) == (Status.FALLBACK, "eager")
    assert row.reason == "not exercised: declare warmup.input"
    assert handler.sizes == []


def test_a_compile_that_takes_too_long_is_stopped():
    def endless(graph, inputs):
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # the limit's own alarm, brought forward
        signal.pause()

    with backend("endless", endless):
        row = optimise(scores(), compiled("endless", pt2={"timeout": 60}), CPU).step("compile")
    assert (row.status, row.reason) == (Status.FALLBACK, "took longer than the 60 s of pt2.timeout")


def test_off_the_main_thread_a_late_compile_is_kept_and_said():
    rows_ = []
    with backend("slow", slow):
        thread = threading.Thread(
            target=lambda: rows_.append(optimise(scores(), compiled("slow", pt2={"timeout": 1e-6}), CPU))
        )
        thread.start()
        thread.join()
    row = rows_[0].step("compile")
    assert row.status is Status.APPLIED
    assert row.reason.endswith("pt2.timeout cannot be kept outside the main thread")


def test_after_a_fallback_the_process_is_as_before():
    limit = torch._dynamo.config.recompile_limit
    config = compiled("inductor", freezing=True, options={"no_such_option": 1}, config=replace(PLAIN, batch_size=20))
    row = optimise(scores(), config, CPU).step("compile")
    assert row.status is Status.FALLBACK
    assert "no_such_option" in row.reason
    assert torch._inductor.config.freezing is False
    assert torch._dynamo.config.recompile_limit == limit
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_an_unknown_backend_is_named_with_the_nearest():
    with pytest.raises(StepFailed, match="no compile backend is called `inducter`; did you mean `inductor`?"):
        check_backend("inducter")


def test_a_mode_and_options_together_become_options():
    declared = compiled("inductor", mode="max-autotune", options={"max_autotune": False})
    plan = CompileStep().declared(declared, CPU).plan
    assert plan.mode is None
    assert plan.options["coordinate_descent_tuning"] is True
    assert plan.options["max_autotune"] is False


def test_a_worker_that_compiles_nothing_does_not_pay_for_the_compiler():
    code = """
import sys
from tests.runner.optimize.models import CPU, precision, scores
from runner.optimize.pipeline import optimise
optimise(scores(), precision("auto", attention=("math",), memory_format="channels_last"), CPU)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_reduce_overhead_on_a_cpu_is_left_out_and_said():
    mode, notes = usable_mode(replace(EAGER, mode="reduce-overhead"), "cpu")
    assert (mode, notes) == (None, ("mode reduce-overhead means CUDA graphs and does nothing on cpu",))
    assert usable_mode(replace(EAGER, mode="reduce-overhead"), "cuda") == ("reduce-overhead", ())


def test_freezing_is_for_inductor_on_a_cpu():
    inductor = replace(EAGER, backend="inductor")
    assert usable_freezing(inductor, "cpu") == (True, ())
    assert usable_freezing(replace(inductor, freezing=False), "cpu") == (False, ())
    assert usable_freezing(inductor, "cuda") == (False, ())
    assert usable_freezing(replace(inductor, freezing=True), "cuda") == (
        False,
        ("freezing left out: it is for inductor on cpu, not inductor on cuda",),
    )


def test_what_is_declared_and_not_done_is_told():
    row = optimise(scores(), compiled(mode="reduce-overhead"), CPU).step("compile")
    assert row.reason == "mode reduce-overhead means CUDA graphs and does nothing on cpu"


def test_a_model_that_the_handler_compiled_is_left_alone():
    handler = scores()
    handler.model = torch.compile(handler.model, backend="eager")
    row = optimise(handler, compiled(), CPU).step("compile")
    assert (row.status, row.reason) == (Status.NOT_APPLICABLE, "the handler compiled the model itself")


def test_bf16_and_compile_work_together():
    handler = scores()
    report = optimise(handler, compiled("aot_eager", config=precision("auto")), CPU)
    assert report.step("compile").status is Status.APPLIED
    assert handler.answer(2).dtype is torch.float32
    assert set(report.baseline_ms) == set(report.optimised_ms) == {"1", "4"}


def test_large_batches_warm_the_sizes_where_graphs_specialise():
    assert batch_sizes(4, every=False) == (4, 3, 2, 1)
    assert batch_sizes(64, every=False) == (64, 63, 32, 21, 16, 8, 4, 3, 2, 1)
    assert len(batch_sizes(64, every=True)) == 64


class Flaky:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    def __call__(self, x):
        if self.outcomes.pop(0):
            return ("compiled", x)
        raise RuntimeError("kernel")


def eager(x):
    return ("eager", x)


def test_a_failure_of_compiled_code_costs_one_eager_call():
    guard = Guarded(Flaky(True, False, True), eager)
    assert [guard(1)[0] for _ in range(3)] == ["compiled", "eager", "compiled"]
    assert (guard.failures, guard.eager_only, guard.last_error) == (1, False, "RuntimeError: kernel")


def test_three_failures_in_a_row_mean_eager_for_good():
    guard = Guarded(Flaky(False, True, False, False, False), eager)
    answers = [guard(1)[0] for _ in range(7)]
    assert answers == ["eager", "compiled", *["eager"] * 5]
    assert (guard.failures, guard.eager_only) == (4, True)


def test_an_input_that_eager_refuses_too_is_no_failure_of_the_compiler():
    def refuse(x):
        raise ValueError("bad input")

    guard = Guarded(Flaky(False), refuse)
    with pytest.raises(ValueError, match="bad input"):
        guard(1)
    assert guard.failures == 0


def test_the_guard_of_a_served_model_can_be_found():
    handler = scores()
    optimise(handler, compiled(), CPU)
    assert guard_of(handler.model).failures == 0
    assert guard_of(Scores()) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own, inside torch
def test_real_inductor_compiles_freezes_and_never_again():
    """A handler that calls its model twice per batch gets no package."""
    handler, plain = (scores(serve=lambda model, x: model(x) + model(x)) for _ in range(2))
    counters = torch._dynamo.utils.counters
    row = optimise(handler, compiled("inductor", pt2={"timeout": 300}), CPU).step("compile")
    graphs = counters["stats"]["unique_graphs"]
    torch.testing.assert_close(handler.answer(4), plain.answer(4))
    for size in (1, 2, 3, 4):
        handler.answer(size)
    assert counters["stats"]["unique_graphs"] == graphs
    assert (row.status, row.applied) == (Status.APPLIED, "inductor, dynamic, frozen")
    assert counters["inductor"]["mkldnn_linear_weight_pack_matcher_count"] > 0
