from __future__ import annotations

import pytest

from archiver.archive import Archive
from archiver.errors import DamagedArchive, NotFound
from tests.builders import make_archive, write


def test_no_archive_writes_a_folder_that_reads_back(tmp_path):
    path = make_archive(tmp_path, name="net", archive_format="no-archive")
    assert path == tmp_path / "net"
    assert (path / "MAR-INF" / "MANIFEST.json").is_file()
    with Archive.open(path) as archive:
        assert (archive.kind, archive.manifest.model_name, archive.verify()) == ("directory", "net", [])


def test_a_folder_that_holds_one_folder_is_looked_through(tmp_path):
    write(tmp_path / "model" / "1" / "handler.py", "x = 1\n")
    with Archive.open(tmp_path / "model") as archive:
        assert archive.root == tmp_path / "model" / "1"
        assert [member.name for member in archive.members] == ["handler.py"]


def test_caches_and_dot_folders_are_no_members(tmp_path):
    for name in ("handler.py", "__pycache__/handler.cpython-311.pyc", ".git/config", "sub/x.pyc", "sub/y.py"):
        write(tmp_path / name, "x")
    with Archive.open(tmp_path) as archive:
        assert [member.name for member in archive.members] == ["handler.py", "sub/y.py"]


def test_a_link_to_a_file_is_read_as_the_file(tmp_path):
    write(tmp_path / "blobs" / "abc", "weights")
    write(tmp_path / "model" / "handler.py", "x = 1\n")
    (tmp_path / "model" / "w.bin").symlink_to(tmp_path / "blobs" / "abc")
    with Archive.open(tmp_path / "model") as archive:
        assert archive.read("w.bin") == b"weights"


def test_an_empty_folder_is_no_archive(tmp_path):
    with pytest.raises(DamagedArchive, match="is an empty folder"):
        Archive.open(tmp_path)


def test_what_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"m\.mar does not exist"):
        Archive.open(tmp_path / "m.mar")


def test_verify_names_what_was_changed_added_and_removed(tmp_path):
    path = make_archive(tmp_path, archive_format="no-archive")
    write(path / "handler.py", "changed = True\n")
    write(path / "notes.txt", "added")
    (path / "model-config.yaml").unlink()
    with Archive.open(path) as archive:
        found = {(finding.code, finding.is_error) for finding in archive.verify()}
    assert found == {
        ("archive/hash-mismatch", True),
        ("archive/unlisted-file", False),
        ("archive/missing-member", True),
    }
