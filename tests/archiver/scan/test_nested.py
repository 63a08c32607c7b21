from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from archiver.errors import ArchiveError, UntrustedPickle
from archiver.scan.look import Budget
from archiver.scan.scan import scan
from tests.archiver.scan.payloads import calling, looked, names
from tests.builders import make_archive, make_torchserve_archive, write

EVIL = calling(os.system, "id")


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def numpy_file(content: bytes, version: int = 1) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + content


def _xz_alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (zipped({"a/data.pkl": EVIL}), "!a/data.pkl"),
        (zipped({"x.txt": EVIL}, zipfile.ZIP_DEFLATED), "!x.txt"),
        (zipped({"m.pt": zipped({"m/data.pkl": EVIL})}, zipfile.ZIP_DEFLATED), "!m.pt!m/data.pkl"),
        (b"#!/bin/sh\n" + zipped({"x": EVIL}), "!x"),
        (zipped({"x": EVIL})[:-2] + b"\x05\0words", "!x"),
        (tarred({"pickle": EVIL}), "!pickle"),
        (tarred({"a/" * 90 + "x": EVIL}), "!" + "a/" * 90 + "x"),
        (tarred({"x": EVIL}, tarfile.GNU_FORMAT), "!x"),
        (tarred({"m.mar": zipped({"x": EVIL}), "z": bytes(70_000)}), "!m.mar!x"),
        (gzip.compress(EVIL), ""),
        (gzip.compress(b"") + gzip.compress(EVIL), ""),
        (gzip.compress(tarred({"x": EVIL})), "!x"),
        (zlib.compress(EVIL), ""),
        (bz2.compress(EVIL), ""),
        (bz2.compress(pickle.dumps(1)) + bz2.compress(EVIL), ""),
        (lzma.compress(EVIL), ""),
        (_xz_alone(EVIL), ""),
        (gzip.compress(bz2.compress(EVIL)), ""),
        (gzip.compress(EVIL + bytes(9000))[:-8], ""),
        (numpy_file(EVIL), ""),
        (numpy_file(EVIL, version=2), ""),
        (zipped({"objects.npy": numpy_file(EVIL)}), "!objects.npy"),
    ],
)
def test_a_pickle_inside_is_found_and_its_place_named(data, where):
    assert names(looked(data, "labels.txt")) == [f"labels.txt{where}: posix.system"]
    assert looked(data, "labels.txt")[0].verdict == "refused"


def test_an_archive_s_members_are_looked_into_wherever_they_lie(tmp_path):
    deep = gzip.compress(tarred({"w.safetensors": EVIL}))
    members = {"handler.py": "def handle(d, c): ...", "labels.txt": EVIL, "more.bin": zipped({"deep.tgz": deep})}
    told = ["labels.txt: posix.system", "more.bin!deep.tgz!w.safetensors: posix.system"]
    stored = make_torchserve_archive(tmp_path / "a.mar", members=members, compression=zipfile.ZIP_STORED)
    packed = make_torchserve_archive(tmp_path / "b.mar", members=members)
    for path in (stored, packed):
        assert names(scan(path).found) == told
    ours = make_archive(tmp_path / "c", extra={"labels.txt": EVIL}, archive_format="tgz")
    assert names(scan(ours).found) == ["labels.txt: posix.system"]


def test_every_file_of_a_folder_is_looked_at_hidden_ones_too(tmp_path):
    write(tmp_path / ".hidden" / "x", EVIL)
    write(tmp_path / "__pycache__" / "y", EVIL)
    os.mkfifo(tmp_path / "pipe")
    assert names(scan(tmp_path).found) == [".hidden/x: posix.system", "__pycache__/y: posix.system"]


def test_a_link_to_a_folder_is_not_followed_and_told(tmp_path):
    folder = tmp_path / "model"
    write(folder / "handler.py", "x = 1")
    (folder / "more").symlink_to(tmp_path)
    assert names(scan(folder).found) == ["more: is a link to a folder"]


def test_who_does_not_trust_it_gets_an_error_that_names_module_function_and_entry(tmp_path):
    archive = make_torchserve_archive(tmp_path / "m.mar", members={"m.pt": zipped({"m/data.pkl": EVIL})})
    with pytest.raises(UntrustedPickle, match=r"m\.pt!m/data\.pkl: posix\.system") as caught:
        scan(archive).require_safe()
    assert "--trust" in (caught.value.hint or "")


def test_an_archive_of_data_and_code_needs_no_trust(tmp_path):
    report = scan(make_archive(tmp_path, extra={"labels.json": "{}", "table.csv": "a,b\n1,2\n"}))
    report.require_safe()
    assert report.verdict == "runs"


@pytest.mark.parametrize("wrap", [lambda data: zipped({"x": data}), lambda data: tarred({"x": data}), gzip.compress])
def test_what_lies_too_deep_is_refused(wrap):
    data = EVIL
    for _ in range(12):
        data = wrap(data)
    assert "too deep" in names(looked(data))[0]


def test_a_zip_that_holds_itself_ends(monkeypatch):
    """A quine needs no craft here: every reading of the member is the whole zip again."""
    from archiver.containers.zip import ZipSource

    monkeypatch.setattr(ZipSource, "extent", lambda self, _: self._window)
    monkeypatch.setattr(ZipSource, "_window", None, raising=False)
    before = ZipSource.__init__

    def keep(self, path, file, limits, window=None):
        self._window = window
        before(self, path, file, limits, window)

    monkeypatch.setattr(ZipSource, "__init__", keep)
    assert "too deep" in names(looked(zipped({"x": b"y"})))[0]


@pytest.mark.parametrize(
    "data",
    [
        zipped({"../x": b"y"}),
        zipped({"x": b"y", "X": b"z"}),
        zipped({"x": b"y"})[:30],
        b"words" + zipped({"x": b"y"}).replace(b"PK\x01\x02", b"PK\x01\x02\xff\xff"),
        tarred({"../x": b"y"}),
        tarred({"x": b"y" * 2000})[:1200],
    ],
)
def test_an_archive_inside_that_breaks_a_rule_is_refused(data):
    assert looked(data)[0].verdict == "refused"


def test_an_encrypted_member_cannot_be_looked_into():
    data = bytearray(zipped({"x": b"y"}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + place] |= 1
    assert "encrypted" in names(looked(bytes(data)))[0]


def test_a_damaged_member_is_refused():
    data = bytearray(zipped({"x": EVIL + os.urandom(5000)}, zipfile.ZIP_DEFLATED))
    data[4000] ^= 0xFF
    assert names(looked(bytes(data))) == ["file.bin!x: is damaged: it cannot be unpacked"]


def test_a_zip_behind_the_end_of_a_tar_is_found():
    data = tarred({"good.txt": b"words"}) + zipped({"x": EVIL})
    assert names(looked(data, "labels.txt")) == ["labels.txt!x: posix.system"]


def test_more_than_a_scan_may_unpack_is_refused():
    data = gzip.compress(bytes(1 << 20))
    assert names(looked(data, budget=Budget(unpacked=1 << 16))) == ["file.bin: is more than a scan reads"]
    assert looked(data)[0].verdict == "data"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_bomb_is_refused_before_it_fills_the_disk(monkeypatch, compress):
    monkeypatch.setattr("archiver.scan.look._FLOOR", 1 << 20)
    assert names(looked(compress(bytes(8 << 20)))) == ["file.bin: is more than a scan reads"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_an_error_not_an_end(monkeypatch):
    full = SimpleNamespace(TemporaryFile=partial(Path("/dev/full").open, "wb"), gettempdir=str)
    monkeypatch.setattr("archiver.scan.extents.tempfile", full)
    with pytest.raises(ArchiveError, match="cannot unpack to .*: No space left on device"):
        looked(gzip.compress(EVIL))


def test_more_entries_than_a_scan_reads_are_refused():
    data = zipped({f"{number}": b"" for number in range(20)})
    assert names(looked(data, budget=Budget(entries=10))) == ["file.bin: is more than a scan reads"]


def test_a_tar_of_folders_without_end_ends():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in range(30):
            info = tarfile.TarInfo(f"{number}")
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
    assert names(looked(file.getvalue(), budget=Budget(entries=10))) == ["file.bin: is more than a scan reads"]


def test_what_one_pickle_spends_the_next_one_does_not_have():
    data = zipped({"a.pkl": b"N" * 900 + b".", "b.pkl": b"N" * 900 + b"."})
    assert names(looked(data, budget=Budget(instructions=1000))) == ["file.bin!b.pkl: is more than a scan reads"]
    data = zipped({"a.pkl": b"N" * 2000 + b".", "b.pkl": b"N."})
    assert len(names(looked(data, budget=Budget(instructions=1000)))) == 2


def test_a_zip_s_end_by_chance_is_no_zip():
    assert looked(b"\0words PK\x05\x06 more words")[0].verdict == "data"


def test_a_member_that_is_stored_with_two_lengths_is_refused():
    data = bytearray(zipped({"x": EVIL}))
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        data[data.index(signature) + place] -= 8
    assert looked(bytes(data))[0].verdict == "refused"
