"""Whoever changes a signed archive is found out.

What is not found out changes nothing: the fields of a zip that no reader acts on are named here one by one, and a
flip that is not refused lies in one of them and leaves every member's name and content as they were.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive import Archive
from archiver.errors import ArchiveError
from archiver.signing.sign import sign
from archiver.signing.verify import verify_signature
from tests.archiver.signing.people import person
from tests.builders import make_archive, make_torchserve_archive, safetensors

#: Offset and length in a local header: version needed, time and date.
LOCAL_FREE = ((4, 2), (10, 4))
#: In a record of the directory: versions, time and date, internal and external attributes but the file type.
CENTRAL_FREE = ((4, 4), (12, 4), (36, 5), (41, 1))


class Case:
    """A signed archive and its bytes; `check` answers what became of other bytes in its place."""

    def __init__(self, folder: Path, *, foreign: bool = False, **project: object) -> None:
        self.signer = person(folder / "keys")
        if foreign:
            self.path = make_torchserve_archive(folder / "m.mar")
        else:
            self.path = make_archive(folder, **project)
        sign(self.path, self.signer.signer)
        self.data = self.path.read_bytes()
        self.trusted = self.signer.trusted
        self.content = self.content_of(self.path)

    def content_of(self, path: Path) -> dict[str, bytes]:
        with Archive.open(path) as archive:
            return {member.name: archive.read(member.name) for member in archive.members}

    def refused(self, data: bytes) -> bool:
        """Whether `archive verify --key` or opening refuses it; if neither, it must hold what was signed."""
        self.path.write_bytes(data)
        try:
            with Archive.open(self.path) as archive:
                signer, wrong = verify_signature(archive, self.trusted)
                if any(finding.is_error for finding in [*archive.verify(), *wrong]):
                    return True
        except ArchiveError:
            return True
        assert signer is not None
        found = self.content_of(self.path)
        assert {**found, "MAR-INF/model.sig": b""} == {**self.content, "MAR-INF/model.sig": b""}
        return False

    def meaningless(self) -> set[int]:
        """Offsets of the bytes that no reader acts on."""
        free: set[int] = set()
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            at = archive.start_dir
            for info in archive.infolist():
                free |= _places(info.header_offset, LOCAL_FREE)
                free |= _places(at, CENTRAL_FREE)
                at += 46 + len(info.filename) + len(info.extra) + len(info.comment)
        return free

    def padding(self) -> list[int]:
        """Offsets of the extra fields: they bring large members to a page's beginning."""
        found: list[int] = []
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            for info in archive.infolist():
                name, extra = struct.unpack_from("<2H", self.data, info.header_offset + 26)
                start = info.header_offset + 30 + name
                found += range(info.header_offset + 28, info.header_offset + 30)
                found += range(start, start + extra)
        return found


def _places(start: int, fields: tuple[tuple[int, int], ...]) -> set[int]:
    return {start + offset + byte for offset, length in fields for byte in range(length)}


@pytest.fixture(scope="module", params=[False, True], ids=["own", "foreign"])
def case(request, tmp_path_factory) -> Case:
    return Case(tmp_path_factory.mktemp("signed"), foreign=request.param)


def flipped(data: bytes, place: int, mask: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= mask
    return bytes(changed)


@pytest.mark.slow
def test_a_flip_of_any_byte_is_refused_or_lies_where_bytes_mean_nothing(case):
    passed = {place for place in range(len(case.data)) if not case.refused(flipped(case.data, place, 1 << place % 8))}
    assert passed <= case.meaningless()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_of_any_byte_is_refused_or_lies_where_bytes_mean_nothing(case, data):
    place, mask = data.draw(st.integers(0, len(case.data) - 1)), data.draw(st.integers(1, 255))
    assert case.refused(flipped(case.data, place, mask)) or place in case.meaningless()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_bytes_that_come_or_go_anywhere_are_refused(case, data):
    place, count = data.draw(st.integers(0, len(case.data))), data.draw(st.integers(1, 64))
    assert case.refused(case.data[:place] + bytes(count) + case.data[place:])
    assert case.refused(case.data[:place]) or place == len(case.data)


@pytest.fixture(scope="module")
def padded(tmp_path_factory) -> Case:
    return Case(tmp_path_factory.mktemp("padded"), checkpoint=safetensors(70_000))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_change_of_the_padding_before_a_large_member_is_refused(padded, data):
    padding = padded.padding()
    assert len(padding) > 1000
    place, mask = data.draw(st.sampled_from(padding)), data.draw(st.integers(1, 255))
    assert padded.refused(flipped(padded.data, place, mask))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_around_a_large_member_is_refused_or_lies_where_bytes_mean_nothing(padded, data):
    place, mask = data.draw(st.integers(0, len(padded.data) - 1)), data.draw(st.integers(1, 255))
    assert padded.refused(flipped(padded.data, place, mask)) or place in padded.meaningless()


@pytest.fixture(scope="module")
def compressed(tmp_path_factory) -> Case:
    return Case(tmp_path_factory.mktemp("compressed"), archive_format="tgz")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_change_of_a_tar_gz_is_refused_or_changes_no_member(compressed, data):
    good = compressed.data
    place, mask = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255))
    compressed.refused(flipped(good, place, mask))  # compares the members where it does not refuse
    assert compressed.refused(good + good[:place]) or not place


def packed(members: dict[str, bytes]) -> bytes:
    """As somebody who knows zip would write them: lengths, checksums and directory are right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def test_members_packed_anew_are_what_was_signed(case):
    assert not case.refused(packed(case.content))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_an_altered_member_with_a_right_checksum_is_refused(case, data):
    name = data.draw(st.sampled_from([name for name in case.content if name != "MAR-INF/model.sig"]))
    content = case.content[name]
    altered = flipped(content, data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255)))
    assert case.refused(packed({**case.content, name: altered}))


@pytest.mark.slow
def test_an_altered_member_with_a_right_checksum_is_refused_at_every_byte(case):
    for name, content in case.content.items():
        if name == "MAR-INF/model.sig":
            continue
        for place in range(len(content)):
            assert case.refused(packed({**case.content, name: flipped(content, place, 1 << place % 8)})), (
                name,
                place,
            )


@pytest.mark.slow
def test_an_altered_signature_is_refused_or_lies_where_it_is_not_read(case):
    good = case.content["MAR-INF/model.sig"]
    places = range(len(good))
    altered = (packed({**case.content, "MAR-INF/model.sig": flipped(good, each, 1 << each % 8)}) for each in places)
    passed = {each for each, data in zip(places, altered, strict=True) if not case.refused(data)}
    names = (b'"publicKey"', b'"hint"', b'"tlogEntries"', b'"keyid"')
    unread = {place for name in names for place in range(good.index(name), good.index(name) + len(name))}
    assert passed <= unread | {place for place in places if good[place : place + 1] in b" "}


@pytest.mark.parametrize("name", ["handler.py", "MAR-INF/MANIFEST.json", "MAR-INF/model.sig"])
def test_a_member_that_is_gone_renamed_or_doubled_is_refused(case, name):
    rest = {each: content for each, content in case.content.items() if each != name}
    assert case.refused(packed(rest))
    assert case.refused(packed({**rest, f"{name}x": case.content[name]}))
    assert case.refused(packed({**rest, name.upper(): case.content[name]}))


@pytest.mark.parametrize(
    "name", ["extra.py", "a/b.py", "MAR-INF/other.sig", "mar-inf/model.sig", "handler.pyc", ".git/config", "x\u00e4"]
)
def test_a_member_that_was_added_is_refused(case, name):
    assert case.refused(packed({**case.content, name: b""}))


def test_members_that_swap_their_contents_are_refused(case):
    first, second = case.content["handler.py"], case.content["MAR-INF/MANIFEST.json"]
    assert case.refused(packed({**case.content, "handler.py": second, "MAR-INF/MANIFEST.json": first}))


def test_a_hidden_member_is_refused(case):
    """TorchServe reads entries as they come, whether or not the directory knows them."""
    evil = b"import os\n"
    header = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, len(evil), len(evil), 10, 0)
    with zipfile.ZipFile(io.BytesIO(case.data)) as archive:
        start = archive.start_dir
    assert case.refused(case.data[:start] + header + b"handler.py" + evil + case.data[start:])
