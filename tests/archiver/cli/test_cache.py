from __future__ import annotations

import json

import pytest

from archiver.store import unpack
from tests.archiver.caches import make_compiled, make_environment
from tests.archiver.cli.archives import archive
from tests.builders import make_archive


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """A cache with one archive that nobody uses."""
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path / "cache"))
    found = unpack(make_archive(tmp_path))
    found.lease.release()
    return found


def test_it_lists_what_is_there(tmp_path, unpacked):
    for arguments in (["cache"], ["cache", "ls"]):
        result = archive(*arguments)
        assert result.exit_code == 0
        line, total = result.stdout.splitlines()
        assert line.split()[0] == unpacked.digest[:12]
        assert line.split()[3:] == ["echo", "1.0", "used", "a", "moment", "ago"]
        assert total.startswith(f"1 in {tmp_path}/cache, ")


def test_as_json_every_entry_has_its_path(unpacked):
    for arguments in (["cache", "--json"], ["cache", "ls", "--json"]):
        (entry,) = json.loads(archive(*arguments).stdout)["entries"]
        assert (entry["path"], entry["busy"]) == (str(unpacked.model_dir), False)


def test_prune_removes_what_is_not_used(unpacked):
    result = archive("cache", "prune")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("1 removed, ")
    assert not unpacked.model_dir.exists()


def test_prune_keeps_what_fits(unpacked):
    assert archive("cache", "prune", "--max-size", "1.5GB").stdout == "0 removed, 0 B freed\n"
    assert json.loads(archive("cache", "prune", "--max-size", "10 kB", "--json").stdout) == {
        "freed": 0,
        "removed": [],
        "compiled": [],
        "environments": [],
    }


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A cache with some compiled code."""
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path))
    return make_compiled(tmp_path / "compile", "0123456789abcdef", size=1000)


def test_it_lists_compiled_code(tmp_path, made):
    line, total = archive("cache").stdout.splitlines()
    assert line.startswith("0123456789ab")
    assert line.endswith("1.0 kB  compiled, torch 2.13.0 cpu for aaaaaaaaaaaa used a moment ago")
    assert total == f"1 in {tmp_path}, 1.0 kB"
    (entry,) = json.loads(archive("cache", "--json").stdout)["compiled"]
    assert (entry["torch"], entry["archive"], entry["device"]) == ("2.13.0", "a" * 64, "cpu")
    assert (entry["path"], entry["size"], entry["busy"]) == (str(made), 1000, False)


def test_prune_removes_compiled_code_too(made):
    assert archive("cache", "prune", "--max-size", "2kB").stdout == "0 removed, 0 B freed\n"
    assert archive("cache", "prune").stdout.splitlines()[-1] == "1 removed, 1.0 kB freed"
    assert not made.exists()


def test_environments_are_listed_and_removed_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path))
    folder = make_environment(tmp_path / "environments", "0123456789abcdef", size=1000, packages=["gift==1.0"])
    line, _ = archive("cache").stdout.splitlines()
    assert line == "0123456789ab     1.0 kB  environment              of gift==1.0 used a moment ago"
    (entry,) = json.loads(archive("cache", "--json").stdout)["environments"]
    assert (entry["path"], entry["installed"], entry["busy"]) == (str(folder), ["gift==1.0"], False)
    assert archive("cache", "prune", "--max-size", "1kB").stdout == "0 removed, 0 B freed\n"
    assert archive("cache", "prune").stdout.splitlines()[-1] == "1 removed, 1.0 kB freed"
    assert not folder.exists()


def test_a_size_that_is_none_is_a_usage_error(unpacked):
    result = archive("cache", "prune", "--max-size", "lots")
    assert result.exit_code == 2
    assert result.stderr == "error: 'lots' is no size\n\nhint: write it like --max-size 20GB\n"


def test_an_empty_cache_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path / "none"))
    assert archive("cache").stdout == f"0 in {tmp_path}/none, 0 B\n"
    assert archive("cache", "prune").stdout == "0 removed, 0 B freed\n"
