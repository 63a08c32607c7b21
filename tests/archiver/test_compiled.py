from __future__ import annotations

import fcntl

from archiver.compiled import compiled, prune_compiled
from tests.archiver.caches import make_compiled


def keys(entries):
    return [entry.key for entry in entries]


def test_entries_are_listed_most_recently_used_first(tmp_path):
    make_compiled(tmp_path, "old", size=10, used=1000)
    make_compiled(tmp_path, "new", size=20, used=2000)
    assert [(entry.key, entry.size, entry.used) for entry in compiled(tmp_path)] == [
        ("new", 20, 2000),
        ("old", 10, 1000),
    ]


def test_the_least_recently_used_go_until_the_rest_fits(tmp_path):
    for used, key in enumerate(["a", "b", "c"]):
        make_compiled(tmp_path, key, size=10, used=used)
    assert keys(prune_compiled(tmp_path, 30)) == []
    assert keys(prune_compiled(tmp_path, 29)) == ["a"]
    assert keys(prune_compiled(tmp_path, 0)) == ["c", "b"]
    assert list(tmp_path.iterdir()) == [], "nothing stays beside a folder that is gone"


def test_what_a_worker_holds_is_busy_and_stays(tmp_path):
    make_compiled(tmp_path, "held", size=10)
    with (tmp_path / "held.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert compiled(tmp_path)[0].busy
        assert prune_compiled(tmp_path, 0) == []
    assert keys(prune_compiled(tmp_path, 0)) == ["held"]


def test_what_a_killed_worker_left_is_listed_without_fields_and_goes(tmp_path):
    folder = make_compiled(tmp_path, "half", size=10)
    (tmp_path / "half.json").unlink()
    (entry,) = compiled(tmp_path)
    assert (entry.torch, entry.archive, entry.device, entry.size) == ("", "", "", 10)
    assert keys(prune_compiled(tmp_path, 0)) == ["half"]
    assert not folder.exists()


def test_damaged_fields_do_no_harm(tmp_path):
    make_compiled(tmp_path, "odd", size=10)
    for text in ["{", "[]", '{"torch": 3}']:
        (tmp_path / "odd.json").write_text(text)
        assert compiled(tmp_path)[0].torch == ""


def test_no_cache_is_an_empty_one(tmp_path):
    assert compiled(tmp_path / "none") == prune_compiled(tmp_path / "none", 0) == []
