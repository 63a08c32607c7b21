"""report.json there and back, and the files beside it."""

from __future__ import annotations

import csv
import io
import json
import resource

import msgspec
import pytest

from archiver.errors import CannotWrite, NotFound
from runner.bench.files import write
from runner.bench.render.markdown import markdown
from runner.bench.render.table_csv import ab_report_csv, rounds_csv
from runner.bench.render.text import text
from runner.bench.report import NoReport, plain, read
from tests.runner.bench.reports import Made, make_report

TORCHSERVE_COLUMNS = (
    "version,Benchmark,Batch size,Batch delay,Workers,Model,Concurrency,Requests,TS failed requests,TS throughput,"
    "TS latency P50,TS latency P90,TS latency P99,TS latency mean,TS error rate,Model_p50,Model_p90,Model_p99,"
    "predict_mean,handler_time_mean,waiting_time_mean,worker_thread_mean,cpu_percentage_mean,"
    "memory_percentage_mean,gpu_percentage_mean,gpu_memory_percentage_mean,gpu_memory_used_mean"
)


def test_a_report_comes_back_as_it_was_written(tmp_path):
    report = make_report()
    write(report, tmp_path / "new" / "folder")
    assert read(tmp_path / "new" / "folder") == report
    assert read(tmp_path / "new" / "folder" / "report.json") == report


def test_json_has_the_medians_beside_the_rounds():
    (level,) = plain(make_report())["levels"]
    assert level["median"]["throughput"] == {"median": 200.0, "low": 190.0, "high": 220.0}
    assert level["median"]["latency"]["p99"]["median"] == 9.0
    assert level["median"]["ofLimit"] == 0.5
    assert len(level["rounds"]) == 3 and level["rounds"][0]["server"]["queueMs"] == 0.5


def test_the_terminal_shows_a_line_per_level_and_what_the_server_says():
    shown = text(make_report(Made((190.0, 200.0, 220.0)), Made((50.0,), None, 50.0, server=False), notes=["a note"]))
    assert "m 1.0, 1 worker × 2 threads on cpu, batches up to 8" in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "16 at a time 200 10% 2.00 5.00 7.00 9.00 15.2 0 0.50" in lines
    assert "50/s 50.0 0% 2.00 5.00 7.00 9.00 15.2 0 0.12" in lines
    assert "16 at a time 0.50 - 1.10 - 1.20 0.50 4.0 0.90 200.0 MB -" in lines
    assert lines[-1] == "note a note"


def test_the_text_says_why_it_is_short_without_the_servers_log():
    shown = text(make_report(stopped="the server ended by SIGKILL\n  its last line"))
    assert shown.splitlines()[-1] == "stopped   early: the server ended by SIGKILL"


def test_markdown_has_the_same_figures():
    told = markdown(make_report(stopped="interrupted"))
    assert "| 16 at a time | 200 | 10% | 2.00 | 5.00 | 7.00 | 9.00 | 15.2 | 0 | 0.50 |" in told
    assert told.endswith("- interrupted\n")


def test_csv_has_a_line_per_round():
    lines = list(csv.DictReader(io.StringIO(rounds_csv(make_report(Made((1.0, 2.0)), Made((3.0,), None, 30.0))))))
    assert [(line["concurrency"], line["rate"], line["round"], line["throughput"]) for line in lines] == [
        ("16", "", "1", "1.0"),
        ("16", "", "2", "2.0"),
        ("", "30.0", "1", "3.0"),
    ]


def test_ab_report_has_torchserve_s_columns():
    lines = ab_report_csv([make_report(Made((190.0, 200.0), failures=(("status 503", 10),)))]).splitlines()
    assert lines[0] == TORCHSERVE_COLUMNS
    (line,) = csv.DictReader(lines)
    assert (line["TS throughput"], line["TS latency P99"], line["Requests"]) == ("195.0", "9.0", "2000")
    assert (line["TS failed requests"], line["TS error rate"], line["Model_p99"]) == ("20", "1.0", "2.0")


def test_a_report_of_nothing_is_no_lines():
    empty = make_report()
    empty.levels = []
    assert (rounds_csv(empty), ab_report_csv([empty])) == ("", "")


def test_a_full_disk_is_said_and_leaves_no_part_of_a_file(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(CannotWrite, match="cannot write the report to .*: File too large"):
            write(make_report(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_report_is_said(tmp_path):
    with pytest.raises(NotFound, match="there is no report"):
        read(tmp_path)
    (tmp_path / "report.json").write_text('{"levels": 3}')
    with pytest.raises(NoReport, match="is no report of `archive bench`"):
        read(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps({**msgspec.to_builtins(make_report()), "format": 99}))
    with pytest.raises(NoReport, match="has format 99"):
        read(tmp_path)
