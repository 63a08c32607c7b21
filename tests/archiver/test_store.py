from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archiver.archive import Archive
from archiver.errors import CannotWrite, DamagedArchive, NotFound
from archiver.store import cache_root, prune, stored, unpack
from tests.builders import HANDLER, make_archive, make_torchserve_archive, safetensors, write


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _entries(cache):
    return sorted(path.name for path in (cache / "models").iterdir())


def test_the_model_folder_is_named_by_the_digest_and_holds_every_file(tmp_path, cache):
    weights = safetensors(70_000)
    unpacked = unpack(make_archive(tmp_path, checkpoint=weights, extra={"deep/a.txt": "1"}), cache=cache)
    assert unpacked.model_dir == cache / "models" / unpacked.digest
    assert (unpacked.model_dir / "model.safetensors").read_bytes() == weights
    assert (unpacked.model_dir / "deep" / "a.txt").read_text() == "1"
    assert unpacked.manifest.model_name == "echo"
    assert unpacked.config_text == "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\n"


@pytest.mark.parametrize("foreign", [True, False])
def test_an_archive_that_was_seen_is_neither_opened_nor_hashed_again(tmp_path, cache, monkeypatch, foreign):
    path = make_torchserve_archive(tmp_path / "m.mar") if foreign else make_archive(tmp_path)
    first = unpack(path, cache=cache)
    opened = []
    monkeypatch.setattr(Archive, "open", lambda *args, **_: opened.append(args))
    again = unpack(path, cache=cache)
    assert (again, opened) == (first, [])


def test_the_digest_is_that_of_the_content_for_foreign_archives_too(tmp_path, cache):
    path = make_torchserve_archive(tmp_path / "m.mar")
    with Archive.open(path) as archive:
        assert unpack(path, cache=cache).digest == archive.digest


def test_the_same_content_is_stored_once_however_it_is_packed(tmp_path, cache):
    zipped, tarred = make_archive(tmp_path / "a"), make_archive(tmp_path / "b", archive_format="tgz")
    assert unpack(zipped, cache=cache).digest == unpack(tarred, cache=cache).digest
    assert len(_entries(cache)) == 1


def test_an_archive_that_was_replaced_is_unpacked_anew(tmp_path, cache):
    first = unpack(make_archive(tmp_path), cache=cache)
    second = unpack(make_archive(tmp_path, version="2.0"), cache=cache)
    assert (first.manifest.model_version, second.manifest.model_version) == ("1.0", "2.0")
    assert len(_entries(cache)) == 2


def test_a_plain_folder_is_served_in_place_and_needs_no_cache(tmp_path, cache):
    path = make_archive(tmp_path, archive_format="no-archive")
    unpacked = unpack(path, cache=cache)
    assert unpacked.model_dir == path
    assert not cache.exists()


def test_two_names_of_one_content_without_manifest_keep_their_names(tmp_path, cache):
    names = [unpack(make_torchserve_archive(tmp_path / f"{name}.mar", manifest=False), cache=cache) for name in "ab"]
    assert [unpacked.manifest.model_name for unpacked in names] == ["a", "b"]
    assert names[0].digest == names[1].digest


def test_an_altered_archive_is_refused_and_leaves_nothing(tmp_path, cache):
    path = make_archive(tmp_path, checkpoint=safetensors(1000, b"w"))
    data = bytearray(path.read_bytes())
    data[data.index(b"wwww") + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchive, match=r"member `model\.safetensors` was altered"):
        unpack(path, cache=cache)
    assert _entries(cache) == []


def test_processes_that_unpack_the_same_archive_at_once_all_succeed(tmp_path, cache):
    path = make_archive(tmp_path, checkpoint=safetensors(2_000_000))
    code = (
        "import sys; from pathlib import Path; from archiver.store import unpack\n"
        "sys.stdin.read(1)\n"
        f"print(unpack(Path({str(path)!r}), cache=Path({str(cache)!r})).digest)"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    outputs = {process.communicate(b"x", timeout=60)[0] for process in processes}
    assert {process.returncode for process in processes} == {0}
    assert [output.decode().strip() for output in outputs] == _entries(cache)


def test_a_cache_that_cannot_be_written_is_said_with_the_way_out(tmp_path):
    path = make_archive(tmp_path)
    with pytest.raises(CannotWrite) as error:
        unpack(path, cache=write(tmp_path / "file", "x") / "cache")
    assert error.value.message.startswith(f"cannot unpack {path} to {tmp_path}/file/cache: ")
    assert error.value.hint == "point TORCH_ARCHIVE_CACHE to a folder with room to write"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_cache_is_said(tmp_path, cache):
    cache.mkdir(mode=0o500)
    with pytest.raises(CannotWrite, match="Permission denied"):
        unpack(make_archive(tmp_path), cache=cache)


@pytest.mark.parametrize("foreign", [True, False])
def test_a_full_cache_is_said_and_leaves_nothing(tmp_path, cache, foreign):
    weights = safetensors(200_000)
    path = make_archive(tmp_path, checkpoint=weights)
    if foreign:
        path = make_torchserve_archive(tmp_path / "m.mar", members={"w.bin": weights})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CannotWrite, match="File too large"):
            unpack(path, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _entries(cache) == []


def test_the_least_recently_used_go_first_and_those_in_use_stay(tmp_path, cache):
    unpacked = [unpack(make_archive(tmp_path / name, name=name), cache=cache) for name in "abc"]
    for age, one in enumerate(unpacked):
        os.utime(one.model_dir, (1000 - age, 1000 - age))
    unpacked[0].lease.release()
    unpacked[1].lease.release()
    size = stored(cache)[0].size
    assert [(entry.model, entry.busy) for entry in stored(cache)] == [
        ("a 1.0", False),
        ("b 1.0", False),
        ("c 1.0", True),
    ]
    assert [entry.model for entry in prune(2 * size + 10, cache=cache)] == []
    assert [entry.model for entry in prune(size, cache=cache)] == ["b 1.0"]
    assert [entry.model for entry in prune(0, cache=cache)] == ["a 1.0"]
    assert _entries(cache) == [unpacked[2].digest]


def test_unpacking_keeps_the_cache_below_its_size(tmp_path, cache):
    first = unpack(make_archive(tmp_path / "a", name="a"), cache=cache)
    first.lease.release()
    second = unpack(make_archive(tmp_path / "b", name="b"), cache=cache, max_size=10)
    assert _entries(cache) == [second.digest]


def test_a_pruned_archive_is_unpacked_again(tmp_path, cache):
    path = make_archive(tmp_path)
    unpack(path, cache=cache).lease.release()
    prune(0, cache=cache)
    assert list((cache / "seen").iterdir()) == []
    assert (unpack(path, cache=cache).model_dir / "handler.py").read_text() == HANDLER


def test_what_a_killed_process_left_half_filled_is_pruned_after_a_while(tmp_path, cache):
    old, fresh = cache / "models" / ".filling-old", cache / "models" / ".filling-fresh"
    for folder in (old, fresh):
        write(folder / "w.bin", "half")
    os.utime(old, (time.time() - 3600,) * 2)
    prune(10**9, cache=cache)
    assert _entries(cache) == [".filling-fresh"]


def test_files_that_a_handler_left_in_its_folder_do_no_harm(tmp_path, cache):
    path = make_archive(tmp_path)
    folder = unpack(path, cache=cache).model_dir
    (folder / "link").symlink_to("/etc")
    write(folder / "HANDLER.py", "x")
    assert unpack(path, cache=cache).model_dir == folder


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", "/a")
    assert cache_root() == Path("/a")
    monkeypatch.delenv("TORCH_ARCHIVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_root() == Path("/b/torch-archive")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_root() == Path("/c/.cache/torch-archive")


def test_an_archive_that_is_not_there_is_not_found(tmp_path, cache):
    with pytest.raises(NotFound):
        unpack(tmp_path / "m.mar", cache=cache)
