from __future__ import annotations

import os

import pytest

from runner.tune.facts import Load
from runner.tune.space import Candidate
from runner.tune.state import OtherState, State
from tests.runner.tune.synthetic import eager, make_alone, make_reading

KEY = {"archive": "sha256:1", "torch": "2.13.0"}
ONE = Candidate(eager(), 1, 8)


def opened(tmp_path, key=None, *, fresh=False):
    return State(tmp_path / "a" / "state.jsonl", key or KEY, fresh=fresh)


def test_a_later_run_knows_what_an_earlier_one_measured(tmp_path):
    first, reading, found = opened(tmp_path), make_reading(100.0, 5.0), make_alone(eager(), {1: 2.0, 8: 9.0})
    first.add_reading(ONE, 1.5, reading)
    first.add_alone(found)
    later = opened(tmp_path)
    assert later.reading(ONE, Load(8), 1.5, None) == reading
    assert later.alone(eager(), (1, 8), 100.0) == found
    assert later.used == 2


def test_each_reading_counts_once(tmp_path):
    first = opened(tmp_path)
    for number in (1.0, 2.0):
        first.add_reading(ONE, 1.5, make_reading(number, 5.0))
    later = opened(tmp_path)
    assert [later.reading(ONE, Load(8), 1.5, None) for _ in range(3)][2] is None
    assert not later.has_readings(ONE)


def test_a_reading_of_another_length_or_load_is_another_one(tmp_path):
    opened(tmp_path).add_reading(ONE, 1.5, make_reading(1.0, 5.0))
    later = opened(tmp_path)
    assert later.reading(ONE, Load(8), 0.7, None) is None and later.reading(ONE, Load(16), 1.5, None) is None
    assert later.has_readings(ONE)


def test_a_reading_that_was_given_up_holds_for_lower_limits_alone(tmp_path):
    first = opened(tmp_path)
    for _ in range(2):
        first.add_reading(ONE, 1.5, make_reading(1.0, 90.0, cut=50.0))
    assert opened(tmp_path).reading(ONE, Load(8), 1.5, 60.0) is None
    assert opened(tmp_path).reading(ONE, Load(8), 1.5, 40.0) is not None


def test_a_curve_that_ended_at_a_limit_is_measured_again_for_a_higher_one(tmp_path):
    opened(tmp_path).add_alone(make_alone(eager(), {1: 2.0, 8: 60.0}))
    assert opened(tmp_path).alone(eager(), (1, 8, 32), 50.0) is not None
    assert opened(tmp_path).alone(eager(), (1, 8, 32), 100.0) is None


def test_a_line_that_was_cut_short_is_no_measurement_and_spoils_none(tmp_path):
    first = opened(tmp_path)
    first.add_reading(ONE, 1.5, make_reading(1.0, 5.0))
    with first.file.open("r+b") as file:
        file.truncate(first.file.stat().st_size - 20)
    opened(tmp_path).add_reading(ONE, 1.5, make_reading(2.0, 5.0))
    later = opened(tmp_path)
    found = later.reading(ONE, Load(8), 1.5, None)
    assert found is not None and found.throughput == 2.0 and not later.has_readings(ONE)


def test_a_file_of_another_archive_is_not_used_nor_overwritten(tmp_path):
    first = opened(tmp_path)
    before = first.file.read_bytes()
    with pytest.raises(OtherState, match="holds measurements of another archive") as caught:
        opened(tmp_path, {**KEY, "archive": "sha256:2"})
    assert caught.value.hint is not None and "--fresh" in caught.value.hint
    assert first.file.read_bytes() == before


def test_fresh_begins_anew(tmp_path):
    opened(tmp_path).add_reading(ONE, 1.5, make_reading(1.0, 5.0))
    assert not opened(tmp_path, fresh=True).has_readings(ONE)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_a_full_disk_is_told_and_measuring_goes_on(tmp_path):
    first = opened(tmp_path)
    first.file.unlink()
    first.file.symlink_to("/dev/full")
    first.add_reading(ONE, 1.5, make_reading(1.0, 5.0))
    first.add_reading(ONE, 1.5, make_reading(1.0, 5.0))
    assert first.lost is not None and "No space left on device" in first.lost
    assert "a later run measures again" in first.lost
