"""The HTML page and its charts."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from runner.bench.render.chart import Series, chart, linear, logarithmic
from runner.bench.render.page import page
from tests.runner.bench.pages import Tags
from tests.runner.bench.reports import Made, make_report

VALUES = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=30)


def test_the_page_is_whole_and_needs_nothing_beside_it():
    text = page(make_report(Made((190.0, 200.0)), Made((50.0,), None, 50.0)))
    found = Tags(text).found
    assert [tag for tag, _ in found].count("svg") == 6
    assert not [attributes for _, attributes in found if {"src", "href"} & attributes.keys()]
    assert "url(" not in text and "@import" not in text and "<script" not in text
    assert "16 at a time" in text and "50/s" in text


def test_a_server_that_tells_nothing_about_itself_has_no_charts_of_batches():
    found = Tags(page(make_report(Made((190.0,), server=False)))).found
    assert [tag for tag, _ in found].count("svg") == 4


def test_names_of_others_stay_text():
    model = {"name": "<script>alert(1)</script>", "device": None}
    text = page(make_report(model=model, input="<b>", notes=["a & b"], stopped="<i>"))
    assert "<script" not in text and "<b>" not in text and "<i>" not in text and "a &amp; b" in text
    assert "Ended early: &lt;i&gt;" in text


def test_a_level_without_a_single_answer_is_drawn_without_it():
    report = make_report()
    report.levels[0].shape = []
    Tags(page(report))


@given(VALUES, st.sampled_from([linear, logarithmic]))
def test_an_axis_has_room_for_every_value_and_a_handful_of_ticks(values, make):
    axis = make("x", values)
    assert all(axis.low <= value <= axis.high for value in values)
    assert 2 <= len(axis.ticks) <= 12
    assert all(axis.low <= at <= axis.high * (1 + 1e-9) for at, _ in axis.ticks)
    parts = [axis.part(value) for value in sorted(values)]
    assert parts == sorted(parts) and parts[0] >= 0 and parts[-1] <= 1


@given(VALUES)
def test_a_line_has_a_point_per_value_inside_the_picture(values):
    x, y = linear("x", [0.0, float(len(values))]), logarithmic("y", values)
    svg = chart("t", x, y, [Series("one", 0, list(enumerate(values)))])
    (path,) = re.findall(r'class="line s0" d="M([^"]+)"', svg)
    points = [tuple(map(float, point.split())) for point in path.split("L")]
    assert len(points) == len(values)
    assert all(0 <= one <= 640 and 0 <= other <= 300 for one, other in points)
