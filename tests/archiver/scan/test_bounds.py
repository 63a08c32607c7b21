"""Hostile pickles end, within time and memory; what is not read to its end is refused."""

from __future__ import annotations

import os
import time
import tracemalloc

import pytest

from archiver.scan.instructions import LONGEST
from archiver.scan.look import Budget
from tests.archiver.scan.payloads import calling, followed, looked, names

EVIL = calling(os.system, "id", protocol=2)
TOO_LONG = ["m.pkl: is more than a scan reads"]

BOMBS = {
    "a billion laughs": b"\x80\x02]" + b"q\x00" + b"".join(b"](h\x00h\x00h\x00h\x00e0" for _ in range(3_000)) + b".",
    "nested lists": b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
    "nested tuples": b"\x80\x02N" + b"\x85" * 20_000 + b".",
    "marks": b"\x80\x02" + b"(" * 20_000 + b"t" * 19_999 + b".",
    "a text that claims gigabytes": b"\x80\x02X\xff\xff\xff\x7f" + b"x" * 100,
    "bytes that claim more than there is": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"x" * 100,
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a long of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "a line without an end": b"c" + b"x" * 3_000_000,
    "a place of many digits": b"Np" + b"9" * 400 + b"\n.",
    "a memo far away": b"\x80\x02Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.",
    "sets of sets": b"\x80\x02" + b"c__builtin__\nset\n]\x85R" * 3_000 + b"0" * 2_999 + b".",
    "many pickles": b"N." * 5_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_read_within_seconds_and_megabytes(name):
    tracemalloc.start()
    started = time.process_time()
    looked(BOMBS[name], "m.pkl")
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5  # tracing is most of it
    assert peak < 30_000_000


@pytest.mark.parametrize("name", BOMBS)
def test_what_stands_behind_a_bomb_is_not_missed(name):
    whole = followed(BOMBS[name]).whole
    found = names(looked(BOMBS[name] + EVIL, "m.pkl"))
    assert not whole or found == ["m.pkl: posix.system"]


@pytest.mark.parametrize("data", [b"N" * 5000 + b".", b"(" * 5000, b"\x80\x02" + b"]\x94" * 5000 + b"."])
def test_a_pickle_with_more_instructions_than_a_scan_follows_is_refused(data):
    assert names(looked(data + EVIL, "m.pkl", Budget(instructions=1000))) == TOO_LONG


@pytest.mark.parametrize("limit", ["_DEEPEST_STACK", "_LARGEST_MEMO"])
@pytest.mark.parametrize("data", [b"(" * 500, b"N" * 500, b"N" + b"\x94" * 500])
def test_a_stack_or_memo_beyond_the_bound_is_refused(monkeypatch, limit, data):
    monkeypatch.setattr(f"archiver.scan.machine.{limit}", 100)
    bounded = (b"\x94" in data) is (limit == "_LARGEST_MEMO")
    assert (names(looked(data, "m.pkl")) == TOO_LONG) is bounded


def test_more_pickles_than_a_scan_reads_are_refused():
    assert names(looked(b"N." * 20_000 + EVIL, "m.pkl")) == TOO_LONG


def test_names_are_as_long_as_is_needed_to_tell_that_they_are_not_on_the_list():
    data = b"\x80\x02ccollections\nOrderedDict" + b"x" * LONGEST + b"\n)R."
    assert names(looked(data))[0].startswith("file.bin: collections.OrderedDictxxx")


def test_only_so_many_globals_are_named():
    data = b"\x80\x02" + b"".join(b"cm%d\nx\n0" % number for number in range(5000)) + b"N."
    assert len(looked(data)[0].refused) == 200
