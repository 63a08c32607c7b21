"""The rules alone, without a file. Whole archives that break them are in tests/hostile."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.errors import RefusedArchive
from archiver.safety import Entry, Kind, Limits, Listing, check, check_content, name_fault


def _entry(name="a", size=1, packed=1, kind=Kind.FILE, compression="stored", **more):
    return Entry(name, size, packed, kind, compression, **more)


def _listing(*entries):
    return Listing("m.mar", 1000, entries)


def _code(*entries, limits=None):
    with pytest.raises(RefusedArchive) as refused:
        check(_listing(*entries), limits or Limits())
    return refused.value.code


def test_an_ordinary_list_passes():
    check(
        _listing(_entry("a/b.py"), _entry("a", kind=Kind.DIRECTORY, size=0), _entry("MAR-INF/MANIFEST.json")),
        Limits(),
    )


def test_limits_are_arguments():
    assert _code(_entry("a"), _entry("b"), limits=Limits(entries=1)) == "archive/too-many-entries"
    assert _code(_entry(size=11, packed=11), limits=Limits(total=10)) == "archive/too-large"


def test_the_ratio_counts_above_the_floor_only():
    limits = Limits(ratio=10, floor=1000)
    check(_listing(_entry(size=1000, packed=1)), limits)
    assert _code(_entry(size=1001, packed=1), limits=limits) == "archive/bomb-ratio"


def test_a_refusal_names_archive_entry_rule_and_code():
    with pytest.raises(RefusedArchive) as refused:
        check(_listing(_entry("../x")), Limits())
    expected = "refusing to open `m.mar`: member `../x` would land outside the archive [archive/escapes-root]"
    assert str(refused.value) == expected


def test_a_signature_needs_no_place_in_the_manifest():
    check_content(_listing(_entry("MAR-INF/MANIFEST.json"), _entry("MAR-INF/model.sig")), {})


@pytest.mark.parametrize("name", ["handler.py", "weights/model.pt", "naïve.txt", ".hidden", "a b.txt", "console.log"])
def test_ordinary_names_have_no_fault(name):
    assert name_fault(name) is None


@pytest.mark.parametrize(
    "name", ["", "a//b", "a\0b", "a\nb", "con", "LPT1.txt", "a.", "a ", "x" * 256, "a/" * 600 + "b"]
)
def test_faulty_names(name):
    assert name_fault(name) is not None


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6))
def test_whatever_passes_stays_inside_any_folder(names):
    listing = _listing(*(_entry(name) for name in names))
    try:
        check(listing, Limits())
    except RefusedArchive:
        return
    for name in names:
        assert ".." not in name.split("/")
        assert not name.startswith("/")
        assert "\\" not in name
        assert "\0" not in name
