from __future__ import annotations

import pytest

from archiver.archive import Archive
from archiver.diff import ABSENT, compare, flat
from tests.builders import make_archive, make_torchserve_archive


def _changes(old, new):
    with Archive.open(old) as one, Archive.open(new) as other:
        return [(change.section, change.key, change.old, change.new) for change in compare(one, other)]


@pytest.mark.parametrize("archive_format", ["default", "tgz", "no-archive"])
def test_the_same_content_has_no_difference_however_it_is_packed(tmp_path, archive_format):
    new = make_archive(tmp_path / "b", archive_format=archive_format)
    assert _changes(make_archive(tmp_path / "a"), new) == []


def test_manifest_config_and_files_are_compared(tmp_path):
    old = make_archive(tmp_path / "a", extra={"gone.txt": "1", "same.txt": "2"})
    new = make_archive(
        tmp_path / "b",
        version="2.0",
        config="batchSize: 4\nwarmup: {iterations: 2}\n",
        extra={"new.txt": "1", "same.txt": "2"},
    )
    changes = _changes(old, new)
    assert [(section, key) for section, key, _, _ in changes] == [
        ("manifest", "model.modelVersion"),
        ("config", "batchSize"),
        ("config", "maxWorkers"),
        ("config", "minWorkers"),
        ("config", "warmup.iterations"),
        ("files", "gone.txt"),
        ("files", "model-config.yaml"),
        ("files", "new.txt"),
    ]
    assert changes[1] == ("config", "batchSize", 2, 4)
    assert changes[2] == ("config", "maxWorkers", 1, ABSENT)


def test_files_of_one_size_without_hashes_are_read(tmp_path):
    old = make_torchserve_archive(tmp_path / "a" / "m.mar", members={"h.py": "1", "same": "x", "w": "12"})
    new = make_torchserve_archive(tmp_path / "b" / "m.mar", members={"h.py": "2", "same": "x", "w": "1"})
    changes = _changes(old, new)
    assert [key for _, key, _, _ in changes] == ["h.py", "w"]
    assert changes[1][2:] == ("2 bytes", "1 bytes")


def test_flat_writes_nested_keys_with_dots():
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_a_requirement_that_resolves_to_another_version_is_a_difference(tmp_path, monkeypatch):
    from archiver import pack
    from archiver.project import from_flags
    from tests.builders import HANDLER, write

    write(tmp_path / "handler.py", HANDLER)
    write(tmp_path / "requirements.txt", "some-package\n")
    for folder, version in (("a", "1.0"), ("b", "1.1")):
        monkeypatch.setattr(pack, "_installed", lambda name, version=version: version)
        flags = {"handler": str(tmp_path / "handler.py"), "requirements_file": tmp_path / "requirements.txt"}
        pack.create(from_flags(model_name="m", export_path=tmp_path / folder, **flags))
    changes = _changes(tmp_path / "a" / "m.mar", tmp_path / "b" / "m.mar")
    assert ("packages", "some-package", "1.0", "1.1") in changes
