from __future__ import annotations

from tests.archiver.cli.archives import archive
from tests.builders import HANDLER, make_archive, write


def test_it_unpacks_and_says_how_much(tmp_path):
    path = make_archive(tmp_path)
    result = archive("extract", path, tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/out: 4 files of {path}\n")
    assert (tmp_path / "out" / "handler.py").read_text() == HANDLER


def test_a_folder_that_is_not_empty_needs_force(tmp_path):
    path = make_archive(tmp_path)
    write(tmp_path / "out" / "notes.txt", "mine")
    result = archive("extract", path, tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path}/out already exists\n\nhint: add --force to replace it\n"
    assert archive("extract", path, tmp_path / "out", "--force").exit_code == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
