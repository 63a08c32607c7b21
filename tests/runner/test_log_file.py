"""A file of lines that stays within its bound, whatever the disk does."""

from __future__ import annotations

import errno
import os

from runner.log_file import LogFile


def test_lines_are_added_to_what_is_there(tmp_path):
    path = tmp_path / "logs" / "a.log"
    LogFile(path).add("one\n")
    LogFile(path).add("two\n")
    assert path.read_text() == "one\ntwo\n"


def test_a_full_file_is_put_away_and_the_oldest_goes(tmp_path):
    path = tmp_path / "a.log"
    file = LogFile(path, most=8, kept=2)
    for word in ("one", "two", "three", "four", "five"):
        file.add(f"{word}\n")
    found = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert found == {"a.log": "five\n", "a.log.1": "four\n", "a.log.2": "three\n"}


def test_lines_longer_than_the_bound_are_written_all_the_same(tmp_path):
    file = LogFile(tmp_path / "a.log", most=3)
    file.add("longer\n")
    assert (tmp_path / "a.log").read_text() == "longer\n"


def test_a_full_disk_is_said_once_and_again_after_it_had_room(tmp_path, caplog):
    path = tmp_path / "a.log"
    path.symlink_to("/dev/full")
    file = LogFile(path)
    file.add("lost\n")
    file.add("lost\n")
    assert [record.message for record in caplog.records] == [
        f"{path}: cannot be written, its lines are lost: {os.strerror(errno.ENOSPC)}"
    ]
    path.unlink()
    file.add("kept\n")
    assert path.read_text() == "\nkept\n"
    path.unlink()
    path.symlink_to("/dev/full")
    file.add("lost\n")
    assert len(caplog.records) == 2


def test_a_folder_that_cannot_be_is_said_too(tmp_path, caplog):
    (tmp_path / "logs").write_text("")
    LogFile(tmp_path / "logs" / "a.log").add("lost\n")
    assert "its lines are lost" in caplog.text
