"""The compile cache: found when it is whole, made anew when it is not, never in the way."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from runner.optimize.cache import CompileCache, key_fields, key_of
from tests.runner.optimize.models import CPU, PLAIN, compiled, precision

FIELDS = {"torch": "2"}


@pytest.fixture(autouse=True)
def no_cache_of_the_shell(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")


def used(root, fields=FIELDS, write=None):
    """The state after one worker's use, which wrote `write`."""
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    cache = CompileCache(root, fields, wait=0)
    cache.open()
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if write is not None:
        target = Path(folder, "ab", write)
        target.parent.mkdir(exist_ok=True)
        target.write_text("code")
    cache.close()
    return cache.state


def folder_of(root):
    return root / key_of(FIELDS)


def test_what_one_worker_made_the_next_one_finds(tmp_path):
    assert used(tmp_path, write="kernel.so") == "made: nothing was there"
    assert used(tmp_path) == "found"
    assert (folder_of(tmp_path) / "ab" / "kernel.so").read_text() == "code"
    assert json.loads((tmp_path / f"{key_of(FIELDS)}.json").read_text()) == FIELDS


def test_using_it_marks_it_used_and_seals_it_anew_only_when_something_was_added(tmp_path):
    used(tmp_path, write="kernel.so")
    fields, seal = (tmp_path / f"{key_of(FIELDS)}{end}" for end in (".json", ".seal.json"))
    for file in (fields, seal):
        os.utime(file, (1, 1))
    used(tmp_path)
    assert (fields.stat().st_mtime > 1, seal.stat().st_mtime) == (True, 1)
    used(tmp_path, write="more.so")
    assert seal.stat().st_mtime > 1
    assert used(tmp_path) == "found"


@pytest.mark.parametrize("damage", ["garbage", "truncated", "stray", "missing", "seal"])
def test_a_damaged_cache_is_emptied_and_made_anew(tmp_path, damage):
    used(tmp_path, write="kernel.so")
    kernel = folder_of(tmp_path) / "ab" / "kernel.so"
    seal = tmp_path / f"{key_of(FIELDS)}.seal.json"
    {
        "garbage": lambda: kernel.write_bytes(b"\0\1\2\3"),
        "truncated": lambda: kernel.write_text("co"),
        "stray": lambda: kernel.with_name("other.so").write_text("code"),
        "missing": lambda: [kernel.with_name("more").write_text("x"), kernel.unlink()],
        "seal": lambda: seal.write_text("{"),
    }[damage]()
    assert used(tmp_path, write="kernel.so") == "made: what was there is not as it was left"
    assert used(tmp_path) == "found"


def test_what_a_worker_that_died_left_behind_is_not_loaded(tmp_path):
    cache = CompileCache(tmp_path, FIELDS, wait=0)
    cache.open()
    (folder_of(tmp_path) / "half").write_text("written")
    cache._release()  # what the kernel does when the process ends
    assert used(tmp_path) == "made: what was there is not as it was left"
    assert not (folder_of(tmp_path) / "half").exists()


def test_a_cache_that_cannot_be_written_is_left_alone_and_said(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert used(tmp_path / "file").startswith("not used: ")
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_a_cache_that_another_worker_holds_for_too_long_is_not_waited_for(tmp_path):
    with (tmp_path / f"{key_of(FIELDS)}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert used(tmp_path).startswith("not used: ")


def test_the_operators_own_cache_folder_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    cache = CompileCache(tmp_path, FIELDS, wait=0)
    cache.open()
    cache.close()
    assert cache.state == "not used: TORCHINDUCTOR_CACHE_DIR is set"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "mine")


def test_torchs_default_folder_is_nobodys_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    cache = CompileCache(tmp_path, FIELDS, wait=0)
    cache.open()
    cache.close()
    assert cache.state == "made: nothing was there"


def test_whatever_the_code_depends_on_changes_the_key(monkeypatch):
    def key(config=PLAIN, archive="a"):
        return key_of(key_fields(config, CPU, archive))

    first = key()
    assert key() == first
    others = {key(archive="b"), key(precision("bf16")), key(compiled()), key(replace(PLAIN, batch_size=5))}
    monkeypatch.setattr("torch.__version__", "2.99.0")
    others.add(key())
    assert len(others | {first}) == 6


def test_a_worker_that_seals_keeps_the_cache_within_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("runner.optimize.cache.MAX_COMPILED", 5)
    for name in ["first", "second", "third"]:
        used(tmp_path, {"torch": name}, write="code.so")
    kept = [path.name for path in tmp_path.iterdir() if path.is_dir()]
    assert kept == [key_of({"torch": "third"})]


def test_a_lock_that_was_pruned_while_we_waited_for_it_holds_nothing(tmp_path):
    used(tmp_path, write="code.so")
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR")
    lock = next(tmp_path.glob("*.lock"))
    pruner = lock.open()
    fcntl.flock(pruner, fcntl.LOCK_EX)

    def prune_instead_of_pausing(_seconds):
        lock.unlink()
        pruner.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.optimize.cache.time.sleep", prune_instead_of_pausing)
        cache = CompileCache(tmp_path, FIELDS, wait=60)
        cache.open()
    assert cache.state == "found" and lock.exists(), "it has a lock of its own"
    cache.close()
