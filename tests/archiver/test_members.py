from __future__ import annotations

from pathlib import Path

import pytest

from archiver.members import LARGE, Member, plan


def _member(name, source=None, size=1, role="extra"):
    return Member(name, Path("/src") / (source or name), size, role, source or name)


def _codes(*members):
    return [finding.code for finding in plan(members)[1]]


def test_small_members_come_first_and_names_are_sorted_as_bytes():
    members = [
        _member("z"),
        _member("w2", size=LARGE),
        _member("é"),
        _member("B"),
        _member("w1", size=LARGE),
        _member("a"),
    ]
    ordered, findings = plan(members)
    assert [member.name for member in ordered] == ["B", "a", "z", "é", "w1", "w2"]
    assert findings == []


def test_two_sources_for_one_name_are_an_error_that_names_both():
    _, findings = plan([_member("vocab.txt", "a/vocab.txt"), _member("vocab.txt", "b/vocab.txt")])
    assert [str(finding) for finding in findings] == [
        "b/vocab.txt: error: `/src/a/vocab.txt` and `/src/b/vocab.txt` would both be `vocab.txt` in the archive "
        "[project/name-clash]"
    ]


def test_names_that_differ_by_case_only_clash():
    assert _codes(_member("README"), _member("readme")) == ["project/name-clash"]


def test_a_file_that_is_also_a_folder_clashes():
    assert _codes(_member("data"), _member("data/a/b")) == ["project/name-clash"]


def test_the_same_file_named_twice_is_packed_once_in_its_first_role():
    ordered, findings = plan([_member("handler.py", role="handler"), _member("handler.py")])
    assert [(member.name, member.role) for member in ordered] == [("handler.py", "handler")]
    assert findings == []


@pytest.mark.parametrize("name", ["MAR-INF/MANIFEST.json", "mar-inf/x", "a\nb", "nul", "a\\b", "x" * 300])
def test_a_name_that_no_reader_would_accept_is_an_error(name):
    assert _codes(_member(name)) == ["project/bad-name"]
