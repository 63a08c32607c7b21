"""Every attack is refused with its code, by a message that names the entry, and leaves nothing behind."""

from __future__ import annotations

import tracemalloc

import pytest

from archiver.archive import Archive
from archiver.errors import ArchiveError, DamagedArchive, RefusedArchive
from archiver.safety import RULES
from archiver.store import unpack
from tests.builders import make_archive, make_torchserve_archive
from tests.hostile.attacks import ATTACKS

CASES = [(code, attack) for code, attacks in ATTACKS.items() for attack in attacks]


def test_every_rule_has_an_attack_and_every_attack_a_rule():
    assert set(ATTACKS) == set(RULES)


@pytest.mark.parametrize(("code", "attack"), CASES, ids=[attack.__name__ for _, attack in CASES])
def test_an_archive_is_refused_that(tmp_path, code, attack):
    archive, named = attack(tmp_path)
    with pytest.raises(RefusedArchive) as refused:
        Archive.open(archive)
    assert refused.value.code == code
    assert named in refused.value.message
    assert str(refused.value).startswith(f"refusing to open `{archive}`: ")


@pytest.mark.parametrize(("code", "attack"), CASES, ids=[attack.__name__ for _, attack in CASES])
def test_nothing_reaches_the_cache_of_an_archive_that(tmp_path, code, attack):
    archive, _ = attack(tmp_path)
    with pytest.raises(RefusedArchive):
        unpack(archive, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_refusal_of_a_bomb_costs_no_memory(tmp_path):
    archive, _ = next(attack for attack in ATTACKS["archive/bomb-ratio"])(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedArchive):
            Archive.open(archive)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_tiny_text_that_deflates_well_is_no_bomb(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar", members={"handler.py": "#" * 1_000_000})
    with Archive.open(path) as archive:
        assert len(archive.read("handler.py")) == 1_000_000


@pytest.mark.parametrize("archive_format", ["default", "tgz"])
def test_an_archive_cut_off_anywhere_is_damaged_or_refused(tmp_path, archive_format):
    path = make_archive(tmp_path, archive_format=archive_format)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError) as error:
            Archive.open(path)
        assert isinstance(error.value, (DamagedArchive, RefusedArchive))


def test_no_flipped_byte_changes_what_is_read_unseen(tmp_path):
    path = make_archive(tmp_path)
    whole = path.read_bytes()
    with Archive.open(path) as archive:
        content = {member.name: archive.read(member.name) for member in archive.members}
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert _read(path) in (None, content), f"byte {at}"


def _read(path):
    """What a reader gets who verifies, or None where opening or verifying fails."""
    try:
        with Archive.open(path) as archive:
            if any(finding.is_error for finding in archive.verify()):
                return None
            return {member.name: archive.read(member.name) for member in archive.members}
    except ArchiveError:
        return None


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4", b"#!/bin/sh\necho hello\n", b"\x1f\x8b", bytes(100), b"xPK\5\6xx"]
)
def test_what_is_no_archive_is_damaged(tmp_path, content):
    path = tmp_path / "x.mar"
    path.write_bytes(content)
    with pytest.raises(DamagedArchive, match=str(path)):
        Archive.open(path)
