from __future__ import annotations

import pytest

from archiver.extras import Extra, expand, split
from tests.builders import write


def _names(folder, typed):
    found, findings = expand(Extra(typed, folder))
    assert findings == []
    return [name for name, _ in found]


@pytest.fixture
def folder(tmp_path):
    for name in (
        "a.json",
        "b.json",
        "assets/x.txt",
        "assets/deep/y.txt",
        "assets/.hidden/z",
        "assets/__pycache__/z.pyc",
    ):
        write(tmp_path / name, name)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("a.json", ["a.json"]),
        ("*.json", ["a.json", "b.json"]),
        ("assets/x.txt", ["x.txt"]),
        ("assets", ["assets/deep/y.txt", "assets/x.txt"]),
        ("assets/", ["assets/deep/y.txt", "assets/x.txt"]),
        ("./assets", ["assets/deep/y.txt", "assets/x.txt"]),
        ("assets/.", ["deep/y.txt", "x.txt"]),
        ("assets/deep", ["deep/y.txt"]),
        ("assets/*", ["deep/y.txt", "x.txt"]),
        ("**/*.txt", ["y.txt", "x.txt"]),
        (".", ["a.json", "assets/deep/y.txt", "assets/x.txt", "b.json"]),
    ],
)
def test_what_an_item_stands_for(folder, typed, names):
    assert _names(folder, typed) == names


def test_a_file_whose_name_looks_like_a_pattern_is_the_file(folder):
    write(folder / "data[1].txt", "x")
    assert _names(folder, "data[1].txt") == ["data[1].txt"]


def test_a_missing_file_is_an_error_with_the_nearest_name(folder):
    _, findings = expand(Extra("a.jsn", folder))
    assert [(f.code, f.message, f.hint) for f in findings] == [
        ("project/missing-file", "the extra file does not exist", "did you mean `a.json`?")
    ]


def test_a_pattern_without_match_is_an_error(folder):
    assert [finding.code for finding in expand(Extra("*.vocab", folder))[1]] == ["project/no-match"]


def test_a_link_back_to_a_folder_above_is_not_followed(folder):
    (folder / "assets" / "loop").symlink_to(folder / "assets")
    assert _names(folder, "assets") == ["assets/deep/y.txt", "assets/x.txt"]


def test_items_are_separated_by_commas_or_given_one_by_one():
    assert (
        split("a.json, b.json,,") == split(["a.json,b.json"]) == split(["a.json", "b.json"]) == ["a.json", "b.json"]
    )
    assert split(None) == []
