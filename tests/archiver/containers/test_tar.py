from __future__ import annotations

import io
import tarfile

import pytest

from archiver.archive import Archive
from archiver.errors import DamagedArchive
from tests.builders import make_archive, safetensors


def _tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_it_has_one_root_folder_named_like_the_archive(tmp_path):
    path = make_archive(tmp_path, name="net", archive_format="tgz")
    assert path.name == "net.tar.gz"
    with tarfile.open(path) as archive:
        assert {name.split("/")[0] for name in archive.getnames()} == {"net"}
        assert "net/MAR-INF/MANIFEST.json" in archive.getnames()


def test_the_same_members_give_the_same_bytes(tmp_path):
    first = make_archive(tmp_path / "a", archive_format="tgz").read_bytes()
    assert make_archive(tmp_path / "b", archive_format="tgz").read_bytes() == first


def test_the_root_folder_is_taken_off_when_reading(tmp_path):
    big = bytes(300_000)
    with Archive.open(make_archive(tmp_path, checkpoint=safetensors(300_000), archive_format="tgz")) as archive:
        assert archive.manifest.model_name == "echo"
        assert archive.read("model.safetensors").endswith(big)
        assert archive.read("handler.py").startswith(b"class Echo")
        assert archive.verify() == []


@pytest.mark.parametrize(
    "names", [("handler.py", "model.pth"), ("./handler.py", "./model.pth"), ("net/handler.py", "net/model.pth")]
)
def test_flat_dotted_and_rooted_tars_read_alike(tmp_path, names):
    path = _tar(tmp_path / "net.tar.gz", dict.fromkeys(names, b"x"))
    with Archive.open(path) as archive:
        assert [member.name for member in archive.members] == ["handler.py", "model.pth"]
        assert archive.manifest.model_name == "net"


def test_a_root_folder_inside_the_root_folder_stays(tmp_path):
    path = _tar(tmp_path / "m.tar.gz", {"a/a/x": b"inner", "a/x": b"outer"})
    with Archive.open(path) as archive:
        assert (archive.read("a/x"), archive.read("x")) == (b"inner", b"outer")


def test_long_and_unicode_names_are_read(tmp_path):
    names = {f"m/{'d' * 120}/{'f' * 120}.txt": b"1", "m/naïve.txt": b"2"}
    with Archive.open(_tar(tmp_path / "m.tar.gz", names)) as archive:
        assert {member.name for member in archive.members} == {name[2:] for name in names}


def test_a_flipped_byte_in_the_stream_is_damage(tmp_path):
    path = make_archive(tmp_path, archive_format="tgz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the CRC of the whole stream
    path.write_bytes(data)
    with pytest.raises(DamagedArchive, match=r"is no \.tar\.gz that can be read"):
        Archive.open(path)
