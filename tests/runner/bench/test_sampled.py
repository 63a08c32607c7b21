"""An archive that names no sample, measured with one."""

from __future__ import annotations

import pytest

from archiver.archive import Archive
from archiver.config.source import read_source
from archiver.store import unpack
from runner.bench.inputs import Input
from runner.bench.sampled import with_sample
from runner.content_types import content_type_of, suffix_of
from tests.builders import HANDLER, make_torchserve_archive

CONFIG = "batchSize: 4\nminWorkers: 2\n"
JSON = Input(b"[1, 2]", "application/json")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path / "cache"))


def sampled(folder, archive, sample=JSON):
    """The copy's file, the copy opened, the note."""
    folder.mkdir()
    return with_sample(archive, unpack(archive), sample, folder)


def old_archive(folder, **members):
    """As torch-model-archiver makes it, with a config file."""
    members = {"handler.py": HANDLER, "model-config.yaml": CONFIG, **members}
    return make_torchserve_archive(folder / "m.mar", members=members, model={"configFile": "model-config.yaml"})


def test_the_copy_names_the_sample_beside_what_the_config_declared(tmp_path):
    _, copy, note = sampled(tmp_path / "made", old_archive(tmp_path))
    values = read_source(copy.config_text, "model-config.yaml").values
    assert values == {"batchSize": 4, "minWorkers": 2, "warmup": {"input": "sample.json"}}
    assert (copy.model_dir / "sample.json").read_bytes() == b"[1, 2]"
    assert note.endswith("as `warmup: {input: sample.json}`")


def test_the_original_stays_as_it_is_and_is_the_copys_parent(tmp_path):
    original = old_archive(tmp_path)
    before = original.read_bytes()
    file, *_ = sampled(tmp_path / "made", original)
    assert original.read_bytes() == before
    with Archive.open(file) as archive:
        assert archive.verify() == [] and archive.manifest.parent == f"sha256:{unpack(original).digest}"


def test_an_archive_without_a_config_gets_one(tmp_path):
    _, copy, _ = sampled(tmp_path / "made", make_torchserve_archive(tmp_path / "m.mar"))
    assert copy.manifest.config_file == "model-config.yaml"
    assert read_source(copy.config_text, "model-config.yaml").values == {"warmup": {"input": "sample.json"}}


def test_a_name_that_is_taken_is_not_overwritten(tmp_path):
    _, copy, note = sampled(tmp_path / "made", old_archive(tmp_path, **{"sample.json": '"of the handler"'}))
    assert (copy.model_dir / "sample.json").read_text() == '"of the handler"'
    assert (copy.model_dir / "sample1.json").read_bytes() == b"[1, 2]" and "sample1.json" in note


def test_a_packed_sample_is_not_packed_again(tmp_path):
    file, *_ = sampled(tmp_path / "made", old_archive(tmp_path))
    _, copy, _ = sampled(tmp_path / "again", file)
    assert [each.path for each in copy.manifest.files if each.role == "sample"] == ["sample.json"]


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", "image/jpeg", "image/webp"])
def test_the_samples_name_stands_for_its_content_type(kind):
    assert content_type_of(f"sample{suffix_of(kind)}").partition(";")[0] == kind.partition(";")[0]


def test_what_no_suffix_stands_for_is_bytes():
    assert content_type_of(f"sample{suffix_of('application/x-of-our-own')}") == "application/octet-stream"
