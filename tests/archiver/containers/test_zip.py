from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from archiver.archive import Archive
from archiver.containers.records import PAGE
from archiver.containers.zip import ZipSink
from archiver.errors import DamagedArchive
from archiver.members import LARGE
from tests.builders import make_archive, make_torchserve_archive, safetensors
from tests.hostile.rawzip import Raw, write_zip

FIXTURE = Path(__file__).parent / "data" / "deflate64.zip"


def _sealed(path, members, **options):
    sink = ZipSink(path, **options)
    for name, content in members.items():
        sink.begin(name, len(content))
        sink.write(content)
        sink.end()
    sink.publish()
    return path


def test_the_standard_library_reads_what_was_written(tmp_path):
    members = {"a.py": b"x = 1\n", "naïve.txt": b"", "weights/w.bin": bytes(LARGE + 1)}
    with zipfile.ZipFile(_sealed(tmp_path / "m.mar", members)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}


@pytest.mark.skipif(shutil.which("7z") is None, reason="7z is not installed")
def test_7zip_finds_nothing_wrong_with_what_was_written(tmp_path):
    path = make_archive(tmp_path, checkpoint=safetensors(LARGE))
    done = subprocess.run(["7z", "t", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout


@pytest.mark.parametrize("size", [LARGE, LARGE + 1, 300_000])
def test_large_members_start_on_a_page_and_small_ones_where_they_fall(tmp_path, size):
    members = {"small": b"12345", "w1": b"a" * size, "w2": b"b" * size}
    with Archive.open(_sealed(tmp_path / "m.mar", members)) as archive:
        offsets = {name: archive.extent(name).offset for name in members}
    assert offsets["small"] == 30 + len("small")
    assert offsets["w1"] % PAGE == offsets["w2"] % PAGE == 0


def test_entries_tile_the_file_without_a_gap(tmp_path):
    path = _sealed(tmp_path / "m.mar", {"w1": bytes(LARGE), "a": b"1", "w2": bytes(LARGE)})
    with Archive.open(path) as archive:
        listing = archive._source.listing
        assert (listing.prefix, listing.gaps, listing.comment) == (0, (), 0)


def test_numbers_that_do_not_fit_use_zip64(tmp_path):
    members = {"a": b"1" * 10, "w": bytes(LARGE), "b": b"2" * 200}
    path = _sealed(tmp_path / "m.mar", members, zip64_from=100)
    with zipfile.ZipFile(path) as theirs, Archive.open(path) as ours:
        assert theirs.testzip() is None
        assert {name: theirs.read(name) for name in members} == {name: ours.read(name) for name in members} == members
        assert ours.extent("w").offset % PAGE == 0


def test_zip64_as_the_standard_library_writes_it_is_read(tmp_path):
    path = tmp_path / "m.mar"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"hello")
    with Archive.open(path) as archive:
        assert archive.read("a") == b"hello"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_of_torch_model_archiver_are_read(tmp_path, compression):
    content = b"print('x')\n" * 1000
    path = make_torchserve_archive(tmp_path / "m.mar", members={"h.py": content}, compression=compression)
    with Archive.open(path) as archive:
        assert archive.read("h.py") == content
        assert (archive.manifest.model_name, archive.manifest.archiver_version) == ("m", "0.12.0")


def test_a_zip_written_to_a_pipe_is_read(tmp_path):
    """Its sizes stand behind the data."""

    class Pipe(io.RawIOBase):
        data = b""

        def writable(self):
            return True

        def write(self, chunk):
            self.data += bytes(chunk)
            return len(chunk)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"x" * 1000)
        archive.writestr("b", b"y")
    path = tmp_path / "m.mar"
    path.write_bytes(pipe.data)
    with Archive.open(path) as archive:
        assert (archive.read("a"), archive.read("b")) == (b"x" * 1000, b"y")


def test_a_foreign_zip_may_have_a_prefix_and_a_comment(tmp_path):
    path = write_zip(tmp_path / "m.mar", [Raw("a", b"1")], prefix=b"#!/bin/sh\n", comment=b"hello")
    with Archive.open(path) as archive:
        assert archive.read("a") == b"1"


def test_deflate64_is_read_and_zipfile_stays_as_it_was(tmp_path):
    before = zipfile._check_compression, zipfile._get_decompressor, zipfile.ZipExtFile.__init__
    with Archive.open(FIXTURE) as archive:
        assert {member.compression for member in archive.members} == {"deflate64"}
        assert archive.read("zeros.bin") == bytes(200_000)
        assert archive.read("text.txt").split()[:2] == [b"Apache", b"License"]
    assert before == (zipfile._check_compression, zipfile._get_decompressor, zipfile.ZipExtFile.__init__)


def test_the_deflate64_decoder_is_loaded_for_no_other_archive(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar")
    code = (
        "import sys; from pathlib import Path; from archiver.archive import Archive\n"
        f"Archive.open(Path({str(path)!r})).read('handler.py')\n"
        "assert not [name for name in sys.modules if 'deflate64' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("method", [0, 8])
def test_a_member_with_a_wrong_crc_is_damaged_and_named(tmp_path, method):
    path = write_zip(tmp_path / "m.mar", [Raw("weights.pt", b"hello" * 99, method=method)])
    data = path.read_bytes()
    path.write_bytes(data.replace((zlib_crc := _crc(b"hello" * 99)), bytes([zlib_crc[0] ^ 1]) + zlib_crc[1:]))
    with Archive.open(path) as archive, pytest.raises(DamagedArchive, match=r"member `weights.pt` fails its CRC"):
        archive.read("weights.pt")


def test_a_member_that_unpacks_to_more_than_it_says_is_damaged(tmp_path):
    long = Raw("w", bytes(5000), method=8, size=10, local={"size": 10})
    with (
        Archive.open(write_zip(tmp_path / "m.mar", [long])) as archive,
        pytest.raises(DamagedArchive, match="10 bytes"),
    ):
        archive.read("w")


def test_an_aborted_sink_leaves_nothing(tmp_path):
    sink = ZipSink(tmp_path / "m.mar")
    sink.begin("a", 1)
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def _crc(data):
    import zlib

    return zlib.crc32(data).to_bytes(4, "little")
