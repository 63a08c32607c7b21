from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.workflow.spec import CODES, read_spec, valid_spec

SPEC = """\
models:
  batch-size: 4
  retry-attempts: 0
  m1:
    url: m1.mar
    max-workers: 2
  m2:
    url: m2.mar
    batch-size: 8
dag:
  first: [m1, m2]
  m1: [last]
  m2: [last]
"""


def test_a_model_has_its_own_settings_then_those_of_all_then_torchserves_defaults():
    nodes = valid_spec(SPEC, "w.yaml").nodes
    m1, m2 = nodes["m1"], nodes["m2"]
    assert (m1.batch_size, m1.max_workers, m1.min_workers, m1.max_batch_delay) == (4, 2, 1, 50)
    assert (m2.batch_size, m2.max_workers, m2.retries, m2.timeout) == (8, 1, 0, 10.0)


def test_a_node_that_is_no_model_is_a_function_with_one_worker_and_no_batches():
    first = valid_spec(SPEC, "w.yaml").nodes["first"]
    assert (first.url, first.min_workers, first.max_workers, first.batch_size, first.max_batch_delay) == (
        *(None, 1, 1),
        *(1, 0),
    )


def test_names_that_are_blank_are_passed_over():
    assert valid_spec("models: {m: {url: m.mar}}\ndag: {m: ['', ' ']}", "w.yaml").graph.nodes == ("m",)


#: Code → a spec that has it, and the line that it is told for.
WRONG = {
    "workflow/no-dag": ("models: {m: {url: m.mar}}", 1),
    "workflow/loop": ("models: {}\ndag:\n  a: [b]\n  b: [a]", 3),
    "workflow/starts": ("models: {}\ndag:\n  a: [c]\n  b: [c]", 4),
    "workflow/no-url": ("models:\n  m: {}\ndag: {m: []}", 2),
    "workflow/unused-model": ("models:\n  m: {url: a}\n  n: {url: b}\ndag: {m: []}", 3),
    "workflow/few-workers": ("models:\n  m: {url: a, min-workers: 3}\ndag: {m: []}", 2),
    "config/range": ("models:\n  batch-size: 0\ndag: {m: []}", 2),
    "config/type": ("models:\n  m: m.mar\ndag: {m: []}", 2),
    "yaml/syntax": ("models: [", 1),
}


@pytest.mark.parametrize("code", WRONG)
def test_what_is_wrong_is_told_with_its_line(code):
    text, line = WRONG[code]
    found = [finding for finding in read_spec(text, "w.yaml")[1] if finding.code == code]
    assert [finding.where.line for finding in found] == [line]


def test_functions_need_a_handler_file():
    spec, (finding,) = read_spec("models: {}\ndag: {f: []}", "w.yaml", has_handler=False)
    assert (spec, finding.code) == (None, "workflow/no-handler")


def test_a_key_that_torchserve_passes_over_is_a_warning_and_no_error():
    spec, (finding,) = read_spec("models:\n  m: {url: a, batch_size: 4}\ndag: {m: []}", "w.yaml")
    assert spec is not None
    assert (finding.where.line, finding.hint) == (2, "did you mean `batch-size`?")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "m", "f", "m.mar"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["models", "dag", "m", "f", "url", "batch-size", 1]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_whatever_the_file_says_there_is_a_spec_or_an_error(values):
    spec, findings = read_spec(json.dumps(values), "w.yaml")
    assert (spec is None) == any(finding.is_error for finding in findings)
    assert spec is None or set(spec.nodes) == set(spec.graph.nodes)


def test_every_code_has_a_test_here_or_beside_packing():
    elsewhere = {"workflow/no-handler", "workflow/no-function"}
    assert set(CODES) - elsewhere <= set(WRONG)
