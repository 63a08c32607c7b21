"""Recorded lines → what people read."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.side_by_side.records import Absent, BadRow, Killed
from benchmarks.side_by_side.report import bars, blocks, markdown, sentences
from benchmarks.side_by_side.report.figures import Column, Results, within_rounds
from benchmarks.side_by_side.report.page import page
from runner.bench.figures import Spread
from tests.benchmarks.recorded import ECHO, lines, visit

ONE, SIXTEEN = Column(ECHO, 1), Column(ECHO, 16)


def results(*more) -> Results:
    return Results(lines(*more))


def test_ratios_are_taken_within_a_round():
    assert results().ahead("torchserve", ONE) == Spread(4.5, 4.0, 5.0)


def test_a_round_that_only_one_of_two_has_gives_no_ratio():
    assert within_rounds({0: 4.0, 1: 9.0}, {0: 2.0, 2: 1.0}) == Spread(2.0, 2.0, 2.0)
    assert within_rounds({0: 4.0}, {1: 2.0}) is None
    assert within_rounds({0: 4.0}, {0: 0.0}) is None


def test_the_limit_of_one_connection_is_one_row_at_a_time():
    assert results().of_limit("torch-archive", ONE) == Spread(0.2, 0.2, 0.2)
    assert results().of_limit("torch-archive", SIXTEEN) == Spread(0.5, 0.5, 0.5)


def test_the_best_of_a_column_is_bold():
    block = markdown.readme_block(results(), "chart.svg")
    assert "| torch-archive | **300** | **1,500** |" in block
    assert "| TorchServe | 70.0 | 350 |" in block


def test_where_another_is_ahead_is_said():
    found = sentences.shortfalls(results(visit("litserve", 0, (500.0, 100.0)), visit("litserve", 1, (250.0, 100.0))))
    assert found == ["echo, 1 connection: LitServe answers 1.25 × as many."]


def test_a_ratio_on_both_sides_of_one_is_no_difference():
    found = sentences.shortfalls(results(visit("litserve", 0, (500.0, 100.0)), visit("litserve", 1, (150.0, 100.0))))
    assert found == ["echo, 1 connection: no clear difference to LitServe."]


def test_less_memory_and_a_sooner_start_are_said():
    found = sentences.shortfalls(results(visit("litserve", 0, (1.0, 1.0), start=0.5, memory=100_000_000)))
    assert found == [
        "echo: the first answer comes sooner from LitServe (0.5 s); here 2.0 s.",
        "echo: less memory is taken by LitServe (100 MB); here 300 MB.",
    ]


def test_what_was_not_measured_is_named_with_its_reason():
    missing = sentences.not_measured(results(Absent("", "pytriton", "its library needs a newer system")))
    assert "PyTriton was not measured: its library needs a newer system." in missing
    assert "Ray Serve has not been measured yet." in missing
    assert not any("TorchServe" in line for line in missing)


def test_what_failed_once_and_was_measured_later_is_not_missing():
    assert results(Absent("echo", "torchserve", "it ended")).absent() == []


def test_fewer_rounds_than_planned_are_said():
    missing = sentences.not_measured(results(visit("litserve", 0, (1.0, 1.0))))
    assert "Only 1 of 2 rounds: LitServe (echo)." in missing
    assert not any("TorchServe" in line for line in missing)


def test_an_unsteady_machine_is_said():
    assert "2.00 × as fast" in sentences.steadiness(results())
    assert "only ratios within rounds" in sentences.steadiness(results())


def test_faults_are_counted_by_kind():
    block = markdown.report_block(
        results(
            BadRow("torchserve", {"503": 3}, {"503": 21}, "400"),
            Killed("torchserve", 1000, {"status 507": 4}, 2.1, True),
        ),
        "chart.svg",
    )
    row = "| TorchServe | 3 × 503 | 21 × 503 | 400 | 4 of 1,000 failed (4 × status 507), 2.1 s without an answer |"
    assert row in block


def test_a_block_replaces_what_is_between_its_markers_alone():
    before = "by hand\n<!-- side-by-side -->\nold\n<!-- /side-by-side -->\nby hand, too\n"
    after = "by hand\n<!-- side-by-side -->\nnew\n<!-- /side-by-side -->\nby hand, too\n"
    assert blocks.replaced(before, "new\n", "page") == after
    assert blocks.replaced(after, "new", "page") == after


def test_a_page_without_markers_is_refused():
    with pytest.raises(blocks.NoMarkers, match="nothing marks where"):
        blocks.replaced("by hand\n", "new", "README.md")


def test_the_chart_is_well_formed_and_needs_nothing_from_elsewhere():
    svg = bars.chart(results(), 16)
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "prefers-color-scheme:dark" in svg
    assert not any(word in svg for word in ("url(", "<script", "@import", "href"))


def test_the_page_says_what_the_report_says():
    text = page(results())
    assert "Where torch-archive is not ahead" in text and "Nowhere in this run." in text
    assert not any(word in text for word in ("<script", "https:"))
