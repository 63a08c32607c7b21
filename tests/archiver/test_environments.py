from __future__ import annotations

from archiver import shelf
from archiver.environments import environments, lease, prune_environments
from tests.archiver.caches import make_environment


def keys(entries):
    return [entry.key for entry in entries]


def test_environments_are_listed_most_recently_used_first(tmp_path):
    make_environment(tmp_path, "old", size=10, packages=["a==1"], used=1000)
    make_environment(tmp_path, "new", size=20, used=2000)
    assert [(entry.key, entry.installed, entry.size) for entry in environments(tmp_path)] == [
        ("new", (), 20),
        ("old", ("a==1",), 10),
    ]


def test_what_a_link_leads_to_is_not_counted(tmp_path):
    folder = make_environment(tmp_path, "one", size=10)
    (tmp_path / "interpreter").write_bytes(bytes(100_000))
    (folder / "bin" / "python").symlink_to(tmp_path / "interpreter")
    assert environments(tmp_path)[0].size < 1000


def test_one_in_which_a_model_runs_is_busy_and_stays(tmp_path):
    folder = make_environment(tmp_path, "one", size=10)
    first, second = lease(folder, alone=False), lease(folder, alone=False)
    assert first is not None and second is not None, "models share it"
    assert lease(folder, alone=True) is None
    assert environments(tmp_path)[0].busy
    assert prune_environments(tmp_path, 0) == []
    first.release()
    second.release()
    assert keys(prune_environments(tmp_path, 0)) == ["one"]
    assert list(tmp_path.iterdir()) == []


def test_nobody_gets_one_that_is_being_made(tmp_path):
    held = lease(tmp_path / "one", alone=True)
    assert held is not None
    assert lease(tmp_path / "one", alone=False) is lease(tmp_path / "one", alone=True) is None
    held.release()


def test_a_lock_that_was_pruned_meanwhile_is_not_taken_for_the_one_in_its_place(tmp_path, monkeypatch):
    lock = tmp_path / "one.lock"

    def pruned_first(fd, how):
        lock.unlink()
        return True

    monkeypatch.setattr(shelf, "locked", pruned_first)
    assert lease(tmp_path / "one", alone=True) is None


def test_what_failed_installations_left_beside_goes(tmp_path):
    (tmp_path / "failed.lock").touch()
    (tmp_path / "failed.log").write_text("ERROR\n")
    assert prune_environments(tmp_path, 1000) == []
    assert list(tmp_path.iterdir()) == []


def test_no_cache_is_an_empty_one(tmp_path):
    assert environments(tmp_path / "none") == prune_environments(tmp_path / "none", 0) == []
