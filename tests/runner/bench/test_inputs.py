"""What is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archiver.errors import NotFound
from archiver.extras import Extra
from archiver.pack import create
from archiver.store import unpack
from runner.bench.inputs import Input, NoInput, of_archive, of_path
from tests.builders import make_archive, make_project


def test_a_file_is_one_request_with_the_type_of_its_suffix(tmp_path):
    (tmp_path / "a.json").write_bytes(b"[1]\n")
    found = of_path(tmp_path / "a.json", None)
    assert found.each == (Input(b"[1]\n", "application/json"),)
    assert of_path(tmp_path / "a.json", "text/plain").each[0].content_type == "text/plain"


def test_a_folder_is_its_files_by_name(tmp_path):
    for name, body in {"b.txt": b"two", "a.json": b"1", ".hidden": b"no"}.items():
        (tmp_path / name).write_bytes(body)
    found = of_path(tmp_path, None)
    assert [each.body for each in found.each] == [b"1", b"two"]
    assert found.source == f"2 files of {tmp_path}"


def test_json_lines_are_a_request_each(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n\n{"a": 2}')
    found = of_path(tmp_path / "a.jsonl", None)
    assert found.each == (Input(b'{"a": 1}', "application/json"), Input(b'{"a": 2}', "application/json"))


def test_an_archive_s_samples_come_before_its_warm_up_input(tmp_path):
    (tmp_path / "s.json").write_text("[2]")
    project = make_project(tmp_path, extra={"w.json": "[1]"})
    sampled = replace(project, samples=(Extra("s.json", tmp_path),))
    for made, bodies in ((project, [b"[1]"]), (sampled, [b"[2]"])):
        opened = unpack(create(made, force=True).path, cache=tmp_path / "cache")
        assert [each.body for each in of_archive(opened, "w.json", None).each] == bodies


def test_an_archive_without_a_sample_says_what_to_do(tmp_path):
    opened = unpack(make_archive(tmp_path), cache=tmp_path / "cache")
    with pytest.raises(NoInput) as caught:
        of_archive(opened, None, None)
    assert str(caught.value) == "the archive has no sample to send"
    assert caught.value.hint.startswith("name one: --input FILE")


@pytest.mark.parametrize("name", ["nothing.json", "empty.jsonl", "empty"])
def test_nothing_to_send_is_said(tmp_path, name):
    (tmp_path / "empty.jsonl").write_bytes(b"\n\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises((NotFound, NoInput)) as caught:
        of_path(tmp_path / name, None)
    assert name in str(caught.value)
