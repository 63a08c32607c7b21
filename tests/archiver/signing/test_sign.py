from __future__ import annotations

import zipfile

import pytest

from archiver.archive import Archive
from archiver.errors import CannotWrite, DamagedArchive, InvalidInput, OutputExists
from archiver.signing.sign import sign
from archiver.signing.verify import verify_signature
from archiver.unpack import extract
from tests.archiver.signing.people import person
from tests.builders import make_archive, make_torchserve_archive, safetensors


@pytest.fixture
def ann(tmp_path):
    return person(tmp_path / "keys")


def verdict(path, person):
    with Archive.open(path) as archive:
        return [finding.code for finding in [*archive.verify(), *verify_signature(archive, person.trusted)[1]]]


def facts(path):
    with Archive.open(path) as archive:
        return archive.digest, {member.name: member.sha256 for member in archive.members}


@pytest.mark.parametrize("archive_format", ["default", "tgz", "no-archive"])
def test_a_signature_comes_to_the_members_and_changes_neither_digest_nor_members(tmp_path, ann, archive_format):
    path = make_archive(tmp_path, archive_format=archive_format, checkpoint=safetensors(70_000))
    digest, members = facts(path)
    signed = sign(path, ann.signer)
    assert signed.keys() == members.keys()
    assert facts(path) == (digest, {**members, "MAR-INF/model.sig": None})
    assert verdict(path, ann) == []


def test_an_archive_of_torchserve_is_signed_whole_and_stored(tmp_path, ann):
    path = make_torchserve_archive(tmp_path / "m.mar")
    with zipfile.ZipFile(path) as before:
        manifest = before.read("MAR-INF/MANIFEST.json")
    assert sign(path, ann.signer).keys() == {"handler.py", "MAR-INF/MANIFEST.json"}
    with zipfile.ZipFile(path) as after:
        assert after.testzip() is None
        assert after.namelist() == ["handler.py", "MAR-INF/MANIFEST.json", "MAR-INF/model.sig"]
        assert after.read("MAR-INF/MANIFEST.json") == manifest
    assert verdict(path, ann) == []


def test_what_was_signed_is_still_signed_when_it_is_unpacked(tmp_path, ann):
    path = make_archive(tmp_path)
    sign(path, ann.signer)
    with Archive.open(path) as archive:
        extract(archive, tmp_path / "unpacked")
    assert verdict(tmp_path / "unpacked", ann) == []


def test_signing_twice_needs_force_and_then_gives_the_same_bytes(tmp_path, ann):
    path = make_archive(tmp_path)
    sign(path, ann.signer)
    first = path.read_bytes()
    with pytest.raises(OutputExists, match="the signature of .* already exists"):
        sign(path, ann.signer)
    sign(path, ann.signer, force=True)
    assert path.read_bytes() == first
    bob = person(tmp_path / "keys", "bob")
    sign(path, bob.signer, force=True)
    assert (verdict(path, bob), verdict(path, ann)) == ([], ["signature/unknown-signer"])


def test_what_is_not_as_its_manifest_says_is_not_signed(tmp_path, ann):
    path = make_archive(tmp_path, checkpoint=safetensors(1000, b"w"))
    data = bytearray(path.read_bytes())
    data[data.index(b"wwww") + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchive):
        sign(path, ann.signer)
    folder = make_archive(tmp_path / "plain", archive_format="no-archive")
    (folder / "handler.py").write_text("other")
    with pytest.raises(InvalidInput, match="nothing was signed"):
        sign(folder, ann.signer)
    assert path.read_bytes() == data
    assert not (folder / "MAR-INF" / "model.sig").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_link_stays_a_link(tmp_path, ann):
    path = make_archive(tmp_path)
    link = tmp_path / "link.mar"
    link.symlink_to(path)
    sign(link, ann.signer)
    assert link.is_symlink()
    assert verdict(path, ann) == []


def test_a_folder_that_cannot_be_written_says_so(tmp_path, ann, monkeypatch):
    from archiver.containers import draft

    folder = make_archive(tmp_path, archive_format="no-archive")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(draft.tempfile, "mkstemp", full)
    with pytest.raises(CannotWrite, match="No space left on device"):
        sign(folder, ann.signer)
