"""Compiled code from an archive: used when everything it depends on is the same here, else told what is not."""

from __future__ import annotations

import hashlib
import os

import pytest

from runner.optimize import shipped as shipping
from runner.optimize.cache import CompileCache, key_of
from runner.optimize.shipped import Shipped
from tests.runner.optimize.models import CPU

FIELDS = {"torch": ["2.13.0", "abc"], "device": ["cpu", ["avx2"]], "settings": {"batch_size": 8}}
KEY = key_of(FIELDS)


@pytest.fixture(autouse=True)
def no_cache_of_the_shell(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")


def archive(folder, fields=FIELDS, **files):
    """A model folder with compiled code for `fields`, and its manifest."""
    listed = []
    for name, data in (files or {"package/model.so": b"code"}).items():
        path = f"MAR-INF/precompiled/{key_of(fields)}/{name}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        listed.append({"path": path, "sha256": hashlib.sha256(data).hexdigest()})
    return {"precompiled": [{"key": key_of(fields), "environment": fields}], "files": listed}


def started(root, manifest, model_dir, fields=FIELDS):
    """The state of one start's compile cache."""
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    cache = CompileCache(root, fields, 0, Shipped(manifest, model_dir), CPU)
    cache.open()
    cache.close()
    return cache.state


@pytest.fixture
def probed(monkeypatch):
    """The folders that were probed; the probe finds nothing wrong."""
    folders = []
    monkeypatch.setattr(shipping, "probe", lambda folder, device: folders.append(folder))
    return folders


def test_code_for_this_machine_is_used_and_probed_once(tmp_path, probed):
    manifest = archive(tmp_path / "model")
    assert started(tmp_path / "cache", manifest, tmp_path / "model") == "shipped with the archive"
    assert started(tmp_path / "cache", manifest, tmp_path / "model") == "found"
    assert [folder.name for folder in probed] == ["package"]
    assert (tmp_path / "cache" / KEY / "package" / "model.so").read_bytes() == b"code"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (FIELDS | {"torch": ["2.12.0", "def"]}, "is for torch 2.12.0 def and not 2.13.0 abc"),
        (FIELDS | {"settings": {"batch_size": 4}}, "is for settings.batch_size 4 and not 8"),
        ({**FIELDS, "device": ["cpu", ["avx512_f"]]}, "is for device cpu ['avx512_f'] and not cpu ['avx2']"),
    ],
)
def test_code_for_something_else_is_left_alone_and_the_difference_told(tmp_path, probed, fields, said):
    manifest = archive(tmp_path / "model", fields)
    state = started(tmp_path / "cache", manifest, tmp_path / "model")
    assert state == f"made: what the archive brings {said}"
    assert probed == []


def test_of_several_the_nearest_is_compared(tmp_path, probed):
    far, near = archive(tmp_path, {"torch": "1", "device": "2"}), archive(tmp_path, FIELDS | {"torch": ["2.14", "x"]})
    manifest = {name: far[name] + near[name] for name in far}
    state = started(tmp_path / "cache", manifest, tmp_path)
    assert state == "made: what the archive brings is for torch 2.14 x and not 2.13.0 abc"


def test_damaged_code_is_not_used(tmp_path, probed):
    manifest = archive(tmp_path / "model")
    (tmp_path / "model" / manifest["files"][0]["path"]).write_bytes(b"c0de")
    state = started(tmp_path / "cache", manifest, tmp_path / "model")
    assert state.startswith("made: what the archive brings cannot be used: MAR-INF/precompiled/")
    assert state.endswith("is damaged")
    assert probed == [] and list((tmp_path / "cache" / KEY).iterdir()) == []


def test_a_manifest_that_names_no_files_is_no_package(tmp_path, probed):
    manifest = archive(tmp_path) | {"files": []}
    assert "is not there" in started(tmp_path / "cache", manifest, tmp_path)


def test_code_that_fails_its_probe_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "probe", lambda folder, device: "it crashed")
    manifest = archive(tmp_path / "model")
    state = started(tmp_path / "cache", manifest, tmp_path / "model")
    assert state == "made: what the archive brings cannot be used: it crashed"
    assert list((tmp_path / "cache" / KEY).iterdir()) == []


def test_an_archive_without_compiled_code_changes_nothing(tmp_path):
    assert started(tmp_path / "cache", {}, tmp_path) == "made: nothing was there"
