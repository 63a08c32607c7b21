"""What the pipeline's report makes of a variant."""

from __future__ import annotations

from runner.tune.alone import verdict
from tests.runner.tune.synthetic import eager


def report_of(**steps):
    """Each step: status, reason and what was measured."""
    rows = [
        {"name": name, "declared": "it", "status": status, "reason": reason, "measured": measured}
        for name, (status, reason, measured) in steps.items()
    ]
    return {"steps": rows}


def test_what_is_applied_within_the_limits_is_served_and_its_figures_are_kept():
    report = report_of(precision=("applied", None, {"cosine": 0.9999, "speedup": {"1": 2.0}}))
    assert verdict(report, eager(precision="bf16")) == (None, {"cosine": 0.9999})


def test_what_is_beyond_verify_is_refused_with_what_was_measured():
    why = "cosine 0.98000 to the model as loaded is below verify.minCosine 0.999"
    report = report_of(precision=("fallback", why, {"cosine": 0.98}))
    assert verdict(report, eager(precision="bf16")) == (f"precision it: {why}", {"cosine": 0.98})


def test_what_was_not_compared_is_refused():
    report = report_of(precision=("unverified", "not exercised: declare warmup.input", {}))
    assert verdict(report, eager(precision="bf16"))[0] == "precision it: not exercised: declare warmup.input"


def test_code_that_is_slower_than_eager_is_refused():
    report = report_of(
        precision=("applied", None, {}),
        compile=("fallback", "0.56 × at batch 1: slower than pt2.minSpeedup asks", {}),
    )
    refused, _ = verdict(report, eager(compiled=True))
    assert refused == "compile it: 0.56 × at batch 1: slower than pt2.minSpeedup asks"


def test_a_scheme_is_looked_up_among_the_quantisations():
    report = report_of(precision=("not-declared", None, {}), quantization=("applied", None, {"cosine": 0.9995}))
    assert verdict(report, eager(precision="int8-dynamic")) == (None, {"cosine": 0.9995})


def test_what_the_archive_declares_itself_is_never_refused():
    report = report_of(precision=("fallback", "too far", {}), compile=("not-declared", None, {}))
    assert verdict(report, eager(precision=None)) == (None, {})
