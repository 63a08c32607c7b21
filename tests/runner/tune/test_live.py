from __future__ import annotations

import io

from rich.console import Console

from runner.tune.live import LiveBoard, board
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import eager, make_reading


def shown(live, width=120):
    out = io.StringIO()
    Console(file=out, width=width).print(live)
    return out.getvalue().splitlines()


def test_what_is_measured_stands_above_what_is_out_and_all_are_counted():
    live = LiveBoard()
    for size in (1, 2, 4):
        live.candidate(Candidate(eager(), 1, size), "waiting", "")
    live.candidate(Candidate(eager(), 1, 1), "out", "not\nfaster")
    live.candidate(Candidate(eager(), 1, 2), "measured", make_reading(200.0, 50.0))
    live.told("starting")
    _, first, second, third, last = shown(live)
    assert " ".join(first.split()) == "cpu, fp32, 1 × 1, batch 2 measured 200/s, p99 50.0 ms at 8 at a time"
    assert "not faster" in second and "waiting" in third
    assert last.endswith("1 measured, 1 out, 1 waiting: starting")


def test_a_long_list_stays_within_a_screen():
    live = LiveBoard()
    for size in range(1, 100):
        live.candidate(Candidate(eager(), 1, size), "waiting", "")
    assert len(shown(live)) < 20


def test_in_a_pipe_nothing_is_shown(capsys):
    with board() as quiet:
        quiet.told("starting")
        quiet.candidate(Candidate(eager(), 1, 1), "waiting", "")
    assert capsys.readouterr() == ("", "")
