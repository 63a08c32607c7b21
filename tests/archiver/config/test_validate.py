"""source → shape → rules → findings, as a whole; single findings are in the examples folder."""

from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.config.findings import Severity
from archiver.config.rules import RULES
from archiver.config.schema import load, properties
from archiver.config.validate import check_config, check_values, examine_config, examine_project

KEYS = sorted(properties(load("model-config")))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(allow_nan=True),
    st.sampled_from(["cpu", "cuda", "bf16", "inductor", "delay", "8", "yes", "1:30", "", "x" * 80]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["compile", "enable", "dtype", "cpu", "buckets", "input", "own"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
CONFIGS = st.dictionaries(st.sampled_from([*KEYS, "BatchSize", "own"]), VALUES, min_size=1, max_size=6)


def lines_of(text: str) -> list[str]:
    return re.split("\r\n|[\r\n\x85\u2028\u2029]", text)


@settings(max_examples=250, deadline=None)
@given(CONFIGS)
def test_any_config_is_checked_and_every_finding_points_inside_it(config: dict[str, Any]) -> None:
    text = yaml.safe_dump(config)

    for finding in check_config(text, "x.yaml", members=["sample.json"]):
        line, column = finding.where.line, finding.where.column
        assert line is not None and column is not None
        assert column <= len(lines_of(text)[line - 1]) + 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_arbitrary_text_never_raises(text: str) -> None:
    check_config(text, "x.yaml")
    examine_project(text, "archive.yaml")


@settings(max_examples=150, deadline=None)
@given(CONFIGS)
def test_what_is_left_of_a_bad_config_has_no_errors_of_shape(config: dict[str, Any]) -> None:
    usable = examine_config(yaml.safe_dump(config), "x.yaml").values

    assert [finding for finding in check_values(usable, "x") if finding.is_error] == []


def test_the_usable_part_drops_what_torchserve_would_ignore() -> None:
    checked = examine_config(
        "batchSize: eight\nmaxWorkers: 2\ndeviceIds: [0, one]\npt2: {bucket: 1, timeout: 9}\n", "x"
    )

    assert checked.values == {"maxWorkers": 2, "pt2": {"timeout": 9}}
    assert len(checked.errors) == 3


def test_findings_come_in_the_order_of_the_file() -> None:
    findings = check_config("maxBatchDelay: 0\nbatchSize: 0\nminWorkers: 2\nowm: 1\n", "x.yaml")

    assert [finding.where.line for finding in findings] == [1, 2, 3, 4]


def test_a_rule_is_silent_about_a_value_that_the_schema_refuses() -> None:
    findings = check_config("minWorkers: 4\nmaxWorkers: two\n", "x.yaml")

    assert [finding.code for finding in findings] == ["config/type"]


def test_one_place_gets_one_finding_from_the_voice_that_knows_most() -> None:
    findings = check_config("devices:\n  cuda: {deviceIds: [0]}\n", "x.yaml")

    assert [finding.code for finding in findings] == ["devices/not-overridable"]


def test_a_device_is_judged_by_its_own_values() -> None:
    text = "batchSize: 8\npt2: {compile: {enable: true}, buckets: [1, 8]}\nwarmup: {input: x}\n"

    assert check_config(text + "devices: {cpu: {batchSize: 8}}\n", "x.yaml") == []
    (finding,) = check_config(text + "devices: {cpu: {batchSize: 4, minWorkers: 1, maxWorkers: 1}}\n", "x.yaml")
    assert finding.code == "pt2/buckets-over-batch"


def test_members_of_the_archive_are_asked_only_where_they_are_known() -> None:
    text = "warmup: {input: sample.json}\n"

    assert check_config(text, "x.yaml") == []
    assert check_config(text, "x.yaml", members=["sample.json"]) == []
    assert [f.code for f in check_config(text, "x.yaml", members=[])] == ["warmup/no-such-member"]


def test_settings_from_elsewhere_have_paths_instead_of_lines() -> None:
    (finding,) = check_values({"pt2": {"compile": {"mode": "fast"}}}, "request")

    assert (finding.where.line, finding.where.path) == (None, "pt2.compile.mode")


def test_what_torchserve_reads_by_a_case_of_its_own_is_fine() -> None:
    assert check_config("deviceType: GPU\nparallelType: TP\n", "x.yaml") == []


def test_every_rule_has_a_code_of_its_own_and_says_what_it_means() -> None:
    codes = [rule.code for rule in RULES]

    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z0-9]+/[a-z0-9-]+", code) for code in codes)
    assert all(rule.meaning.endswith(".") for rule in RULES)


def test_a_project_with_its_version_as_a_number_is_told_to_quote_it() -> None:
    (finding,) = examine_project("name: digits\nversion: 1.10\n", "archive.yaml").findings

    assert finding.severity is Severity.ERROR
    assert (finding.message, finding.hint) == ("version must be text, not 1.10", 'write `version: "1.10"`')
