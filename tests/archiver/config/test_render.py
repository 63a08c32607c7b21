"""The same verdict as text, JSON, GitHub annotations, SARIF and JUnit."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from archiver.config.findings import Finding, Severity, Where
from archiver.config.render import FORMATS, render
from archiver.config.render.verdict import Verdict

FINDINGS = (
    Finding(
        "config/type",
        Severity.ERROR,
        Where("a, b.yaml", 7, 12, "batchSize"),
        "100% wrong:\nbad",
        "write `batchSize: 8`",
    ),
    Finding("pt2/flat-form", Severity.NOTE, Where("a, b.yaml", 9, 1, "pt2"), "deprecated"),
    Finding("archive/damaged", Severity.WARNING, Where("x.mar"), "odd \x00 name <&>"),
)
VERDICT = Verdict(("a, b.yaml", "x.mar", "clean.yaml"), FINDINGS)


def test_text_is_what_editors_read_with_a_summary_at_the_end() -> None:
    lines = render("text", Verdict(VERDICT.files, FINDINGS[1:])).splitlines()

    assert lines == [
        "a, b.yaml:9:1: note: deprecated [pt2/flat-form]",
        "x.mar: warning: odd \x00 name <&> [archive/damaged]",
        "3 files, 0 errors, 1 warning, 1 note",
    ]


def test_json_has_every_field_and_counts() -> None:
    document = json.loads(render("json", VERDICT))

    assert document["files"] == ["a, b.yaml", "x.mar", "clean.yaml"]
    assert document["counts"] == {"error": 1, "warning": 1, "note": 1}
    assert document["findings"][0] == {
        "code": "config/type",
        "severity": "error",
        "file": "a, b.yaml",
        "line": 7,
        "column": 12,
        "path": "batchSize",
        "message": "100% wrong:\nbad",
        "hint": "write `batchSize: 8`",
    }


def test_github_escapes_what_would_end_a_command() -> None:
    first, second, third, summary = render("github", VERDICT).splitlines()

    assert first == (
        "::error file=a%2C b.yaml,line=7,col=12,title=config/type::100%25 wrong:%0Abad%0Ahint: write `batchSize: 8`"
    )
    assert second.startswith("::notice file=a%2C b.yaml,line=9,")
    assert third == "::warning file=x.mar,title=archive/damaged::odd \x00 name <&>"
    assert summary == "3 files, 1 error, 1 warning, 1 note"


def test_sarif_has_one_rule_per_code_and_a_region_where_the_line_is_known() -> None:
    (run,) = json.loads(render("sarif", VERDICT))["runs"]

    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["archive/damaged", "config/type", "pt2/flat-form"]
    assert [result["level"] for result in run["results"]] == ["error", "note", "warning"]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    first, _, last = (result["locations"][0]["physicalLocation"] for result in run["results"])
    assert first == {
        "artifactLocation": {"uri": "a%2C%20b.yaml"},
        "region": {"startLine": 7, "startColumn": 12},
    }
    assert "region" not in last


def test_junit_fails_errors_only_and_lists_clean_files_as_passed() -> None:
    root = ElementTree.fromstring(render("junit", VERDICT))

    counts = {suite.get("name"): (suite.get("tests"), suite.get("failures")) for suite in root}
    assert counts == {"a, b.yaml": ("2", "1"), "x.mar": ("1", "0"), "clean.yaml": ("1", "0")}
    (failure,) = root.iter("failure")
    assert failure.get("type") == "config/type"


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_can_say_that_nothing_was_found(format_: str) -> None:
    text = render(format_, Verdict(("clean.yaml",), ()))

    assert text and "config/" not in text
