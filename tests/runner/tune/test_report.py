from __future__ import annotations

import csv
import json
from html.parser import HTMLParser

import pytest

from archiver.errors import CannotWrite
from runner.tune.files import write
from runner.tune.render.markdown import markdown
from runner.tune.render.page import page
from runner.tune.render.rows import out_lines, verdict
from runner.tune.render.text import text
from runner.tune.report import plain
from tests.runner.tune.reports import make_report


def test_the_table_reads_like_the_case_studys():
    lines = text(make_report()).splitlines()
    (head,) = (line for line in lines if "requests/s" in line)
    (best,) = (line for line in lines if line.endswith("←"))
    assert head.split()[:6] == ["device", "load", "requests", "workers", "threads", "batch"]
    assert best.split()[:8] == ["cpu", "16", "at", "a", "time", "500", "2", "1"]
    assert "p99 within 100 ms" in lines[1]


def test_the_answer_is_one_sentence():
    assert verdict(make_report()) == "cpu, fp32, 2 × 1, batch 8: 200/s with p99 50.0 ms at 16 at a time"


def test_a_limit_that_nothing_keeps_is_said_with_the_nearest():
    assert verdict(make_report(met=False)).startswith(
        "no configuration is within 100 ms; the nearest is cpu, fp32, 2 × 1, batch 8: 200/s with p99 50.0 ms"
    )


def test_each_kind_of_reason_is_told_once():
    report = make_report()
    out = report.tried[2]
    assert out_lines(make_report(tried=[out, out, out])) == [
        "out: cpu, fp32, 4 × 1, batch 8: 4 workers × 1 threads are more than the 2 cores (and 2 alike)"
    ]


def test_the_files_of_a_report_hold_the_same_figures(tmp_path):
    names = [file.name for file in write(make_report(), tmp_path)]
    assert names == ["tune.json", "tune.html", "tune.md", "candidates.csv", "model-config.yaml"]
    document = json.loads((tmp_path / "tune.json").read_text())
    assert document == json.loads(json.dumps(plain(make_report())))
    assert document["chosen"]["candidate"]["workers"] == 2
    rows = list(csv.DictReader((tmp_path / "candidates.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["measured", "measured", "out"]
    assert rows[0]["throughput"] == "200.0" and rows[2]["reason"].startswith("4 workers")


def test_the_page_is_well_formed_and_shows_markup_as_text():
    open_tags: list[str] = []

    class Checked(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "br", "path", "circle", "line", "rect"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            if tag not in ("path", "circle", "line", "rect"):
                assert open_tags.pop() == tag

    shown = page(make_report())
    Checked().feed(shown)
    assert open_tags == []
    assert "&lt;here&gt;" in shown and "http" not in shown.split("</style>")[1]


def test_markdown_has_the_recommended_yaml():
    assert "```yaml\n# why\nminWorkers: 2\n```" in markdown(make_report())


def test_a_report_without_a_single_reading_is_still_one(tmp_path):
    report = make_report(chosen=None, tried=[], alone=[], stopped="interrupted")
    assert "nothing was measured" in text(report)
    assert "Ended early: interrupted" in page(report)


def test_a_full_disk_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot write the report"):
        write(make_report(), tmp_path / "file")
