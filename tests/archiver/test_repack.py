"""An archive packed again: its own members stay as they were, what is added is listed and hashed."""

from __future__ import annotations

import json
import os

import pytest

from archiver.archive import Archive
from archiver.manifest import PRECOMPILED, SBOM
from archiver.repack import content_of, member_of, members_of, repack
from archiver.store import unpack
from tests.builders import make_archive, make_torchserve_archive


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "model.so"
    path.write_bytes(b"\x7fELF" + os.urandom(70_000))
    return member_of("MAR-INF/precompiled/k/model.so", path, PRECOMPILED)


def contents(path):
    with Archive.open(path) as archive:
        assert archive.verify() == []
        made = ("manifest", "sbom")
        return {member.name: archive.read(member.name) for member in archive.members if member.role not in made}


@pytest.mark.parametrize("name", ["again.mar", "again.tar.gz"])
def test_members_stay_and_new_ones_join_them(tmp_path, code, name):
    opened = unpack(make_archive(tmp_path), cache=tmp_path / "cache")
    before = contents(make_archive(tmp_path / "other"))
    target = tmp_path / name
    manifest = repack(target, [*members_of(opened.manifest, opened.model_dir), code], opened.manifest)
    assert contents(target) == before | {code.name: code.source.read_bytes()}
    assert {file.path: file.role for file in manifest.files}[code.name] == PRECOMPILED


def test_compiled_code_does_not_change_what_an_archive_is_made_of(tmp_path, code):
    opened = unpack(make_archive(tmp_path), cache=tmp_path / "cache")
    manifest = repack(tmp_path / "a.mar", [*members_of(opened.manifest, opened.model_dir), code], opened.manifest)
    assert manifest.content() == opened.manifest.content() == content_of(opened.manifest, opened.model_dir)


def test_a_foreign_archive_becomes_one_of_ours_with_the_content_that_was_foretold(tmp_path):
    opened = unpack(make_torchserve_archive(tmp_path / "foreign.mar"), cache=tmp_path / "cache")
    assert opened.manifest.content() is None
    manifest = repack(tmp_path / "own.mar", members_of(opened.manifest, opened.model_dir), opened.manifest)
    assert manifest.content() == content_of(opened.manifest, opened.model_dir)
    assert contents(tmp_path / "own.mar").keys() | {SBOM} == {file.path for file in manifest.files}


def test_the_bill_of_materials_is_made_anew_for_the_new_members(tmp_path, code):
    opened = unpack(make_archive(tmp_path), cache=tmp_path / "cache")
    target = tmp_path / "again.mar"
    repack(target, [*members_of(opened.manifest, opened.model_dir), code], opened.manifest)
    with Archive.open(target) as archive:
        listed = {each["name"] for each in json.loads(archive.read(SBOM))["components"] if each["type"] == "file"}
        assert listed == {member.name for member in archive.members} - {SBOM, "MAR-INF/MANIFEST.json"}


def test_a_target_that_cannot_be_written_stays_as_it_was(tmp_path, code):
    opened = unpack(make_archive(tmp_path), cache=tmp_path / "cache")
    target = tmp_path / "again.mar"
    target.write_bytes(b"before")
    code.source.write_bytes(b"shorter")
    with pytest.raises(Exception, match="changed while it was being packed"):
        repack(target, [*members_of(opened.manifest, opened.model_dir), code], opened.manifest)
    assert target.read_bytes() == b"before"
