"""What a run measures, and what it does not measure again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.side_by_side.apps.workloads import WORKLOADS
from benchmarks.side_by_side.cells import FULL, groups
from benchmarks.side_by_side.faults import Answered, account
from benchmarks.side_by_side.forms import LISTED, PLAIN, TENSORS
from benchmarks.side_by_side.records import Calibration, Log, Visit
from benchmarks.side_by_side.running import APPS, is_close
from benchmarks.side_by_side.servers import SERVERS
from tests.benchmarks.recorded import lines


def test_each_round_is_in_the_other_order():
    first, second = (
        group for group in groups(FULL, ["a", "b", "c"]) if group[0].cell == FULL.cells[0] and group[0].round < 2
    )
    assert [turn.server for turn in first] == ["a", "b", "c"]
    assert [turn.server for turn in second] == ["c", "b", "a"]


def test_every_server_has_its_app_and_a_name_of_its_own():
    assert all((APPS / server.app).is_file() for server in SERVERS)
    assert len({server.name for server in SERVERS}) == len(SERVERS)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_a_servers_version_is_pinned(server):
    pinned = [each for each in server.requirements if each.partition("[")[0].partition("=")[0] == server.package]
    assert server.requirements[0] == "--editable" or all("==" in each for each in pinned) and pinned


def test_a_log_goes_on_where_it_was_cut_off(tmp_path: Path):
    file = tmp_path / "lines.jsonl"
    log = Log(file)
    for record in lines():
        log.add(record)
    file.write_bytes(file.read_bytes()[:-5])
    again = Log(file)
    assert again.records == lines()[:-1]
    assert again.has(Visit, round=0, cell="echo", server="torchserve")
    assert not again.has(Visit, round=1, cell="echo", server="torch-archive")
    assert again.has(Calibration, round=1)


def test_a_line_after_a_cut_off_one_is_whole(tmp_path: Path):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"type":"vis')
    Log(file).add(lines()[0])
    assert Log(file).records == lines()[:1]


def test_answers_are_compared_but_for_the_last_digits():
    assert is_close({"label": "ok", "score": 0.1}, {"label": "ok", "score": 0.1000001})
    assert not is_close([0.1, 0.2], [0.2, 0.1])
    assert not is_close([0.1], [0.1, 0.2])


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        (PLAIN, b"[0.5, 1.5]"),
        (LISTED, b"[[0.5, 1.5]]"),
        (TENSORS, b'{"outputs": [{"datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}]}'),
        (TENSORS, b'{"outputs": [{"datatype": "BYTES", "shape": [1, 1], "data": ["[0.5, 1.5]"]}]}'),
    ],
)
def test_each_form_finds_the_output_in_its_answer(form, answer):
    assert form.output(answer) == [0.5, 1.5]


def test_a_tensor_says_its_shape():
    assert b'"shape": [1, 3], "datatype": "FP32"' in TENSORS.body([1.0, 2.0, 3.0])
    assert b'"shape": [1, 1], "datatype": "BYTES"' in TENSORS.body("text")


def test_no_two_samples_of_a_workload_are_alike():
    for workload in WORKLOADS.values():
        samples = workload.samples()
        assert len({str(sample) for sample in samples}) == len(samples)
        assert samples == workload.samples()


def test_the_longest_time_without_an_answer_is_found():
    answers = [Answered(at, status) for at, status in [(1.0, "200"), (1.5, "500"), (4.0, "200"), (9.5, "200")]]
    found = account("one", answers, began=0.0, end=10.0)
    assert (found.requests, found.failures, found.gap, found.recovered) == (4, {"500": 1}, 5.5, True)


def test_a_server_that_never_answers_again_has_not_recovered():
    answers = [Answered(1.0, "200"), Answered(2.0, "no answer")]
    found = account("one", answers, began=0.0, end=10.0)
    assert (found.gap, found.recovered) == (9.0, False)
