from __future__ import annotations

import pytest

from archiver.archive import Archive
from archiver.containers.formats import FORMATS
from archiver.errors import CannotWrite, DamagedArchive, OutputExists
from archiver.unpack import extract
from tests.archiver.containers.test_zip import FIXTURE
from tests.builders import HANDLER, make_archive, make_torchserve_archive, safetensors, write


def _extract(path, target, **options):
    with Archive.open(path) as archive:
        return extract(archive, target, **options)


def _tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("archive_format", FORMATS)
def test_every_format_unpacks_to_the_same_files(tmp_path, archive_format):
    weights = safetensors(70_000)
    path = make_archive(tmp_path, checkpoint=weights, extra={"deep/a.txt": "1"}, archive_format=archive_format)
    assert _extract(path, tmp_path / "out") == 6
    tree = _tree(tmp_path / "out")
    assert (tree["model.safetensors"], tree["deep/a.txt"], tree["handler.py"]) == (weights, b"1", HANDLER.encode())


def test_foreign_archives_unpack_too(tmp_path):
    _extract(make_torchserve_archive(tmp_path / "m.mar"), tmp_path / "deflated")
    _extract(FIXTURE, tmp_path / "deflate64")
    assert _tree(tmp_path / "deflated")["handler.py"] == HANDLER.encode()
    assert _tree(tmp_path / "deflate64")["zeros.bin"] == bytes(200_000)


def test_an_empty_folder_is_filled_and_a_full_one_is_not(tmp_path):
    path = make_archive(tmp_path)
    (tmp_path / "empty").mkdir()
    _extract(path, tmp_path / "empty")
    write(tmp_path / "full" / "notes.txt", "mine")
    with pytest.raises(OutputExists):
        _extract(path, tmp_path / "full")
    assert _tree(tmp_path / "full") == {"notes.txt": b"mine"}


def test_force_puts_the_files_among_those_that_are_there(tmp_path):
    write(tmp_path / "full" / "notes.txt", "mine")
    write(tmp_path / "full" / "handler.py", "older")
    _extract(make_archive(tmp_path), tmp_path / "full", force=True)
    tree = _tree(tmp_path / "full")
    assert (tree["notes.txt"], tree["handler.py"]) == (b"mine", HANDLER.encode())


def test_force_does_not_write_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    write(tmp_path / "full" / "notes.txt", "mine")
    (tmp_path / "full" / "deep").symlink_to(tmp_path / "outside")
    path = make_archive(tmp_path, extra={"deep/a.txt": "1"})
    with pytest.raises(CannotWrite, match="a link there leads outside"):
        _extract(path, tmp_path / "full", force=True)
    assert _tree(tmp_path / "outside") == {}


def test_a_damaged_member_leaves_nothing(tmp_path):
    path = make_archive(tmp_path, checkpoint=safetensors(1000, b"w"))
    data = bytearray(path.read_bytes())
    data[data.index(b"wwww") + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchive, match=r"member `model\.safetensors` was altered"):
        _extract(path, tmp_path / "out")
    assert sorted(child.name for child in tmp_path.iterdir()) == ["echo.mar", "src"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    path = make_archive(tmp_path)
    write(tmp_path / "file", "x")
    with pytest.raises(CannotWrite, match="cannot write"):
        _extract(path, tmp_path / "file" / "out")
