"""An archive that names no sample, measured with one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from archiver.archive import Archive
from archiver.config.source import read_source
from archiver.extras import Extra
from archiver.pack import create
from archiver.store import unpack
from runner.bench.sampled import Sampled, sampled
from runner.content_types import content_type_of, suffix_of
from runner.local import settled_archive
from tests.builders import HANDLER, make_project, make_torchserve_archive, write

CONFIG = "batchSize: 4\nminWorkers: 2\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path / "cache"))


def measured(folder, archive) -> Sampled:
    """As it is measured, with `[1, 2]` to send."""
    folder.mkdir()
    (folder / "sent.json").write_bytes(b"[1, 2]")
    made = folder / "made"
    made.mkdir()
    settle = partial(settled_archive, device=None, flags={})
    source = folder / "sent.json"
    return sampled(archive, unpack(archive), settle, source, None, folder=made, told=lambda _: None)


def old_archive(folder, **members):
    """As torch-model-archiver makes it, with a config file."""
    members = {"handler.py": HANDLER, "model-config.yaml": CONFIG, **members}
    return make_torchserve_archive(folder / "m.mar", members=members, model={"configFile": "model-config.yaml"})


def test_the_copy_names_the_sample_beside_what_the_config_declared(tmp_path):
    found = measured(tmp_path / "a", old_archive(tmp_path))
    values = read_source(found.opened.config_text, "model-config.yaml").values
    assert values == {"batchSize": 4, "minWorkers": 2, "warmup": {"input": "sample.json"}}
    assert found.here.config.warmup.input == "sample.json" and found.here.config.batch_size == 4
    assert (found.opened.model_dir / "sample.json").read_bytes() == b"[1, 2]"
    (note,) = found.notes
    assert note.endswith("as `warmup: {input: sample.json}`")


def test_an_archive_that_names_a_sample_is_measured_as_it_is(tmp_path):
    config = {"model-config.yaml": "warmup: {input: own.json}\n", "own.json": "[3]"}
    archive = old_archive(tmp_path, **config)
    found = measured(tmp_path / "a", archive)
    assert (found.file, found.notes) == (archive, ())
    assert [each.body for each in found.inputs.each] == [b"[1, 2]"]


def test_the_original_stays_as_it_is_and_is_the_copys_parent(tmp_path):
    original = old_archive(tmp_path)
    before = original.read_bytes()
    found = measured(tmp_path / "a", original)
    assert original.read_bytes() == before
    with Archive.open(found.file) as archive:
        assert archive.verify() == [] and archive.manifest.parent == f"sha256:{unpack(original).digest}"


def test_an_archive_without_a_config_gets_one(tmp_path):
    copy = measured(tmp_path / "a", make_torchserve_archive(tmp_path / "m.mar")).opened
    assert copy.manifest.config_file == "model-config.yaml"
    assert read_source(copy.config_text, "model-config.yaml").values == {"warmup": {"input": "sample.json"}}


def test_a_name_that_is_taken_is_not_overwritten(tmp_path):
    found = measured(tmp_path / "a", old_archive(tmp_path, **{"sample.json": '"of the handler"'}))
    assert (found.opened.model_dir / "sample.json").read_text() == '"of the handler"'
    assert (found.opened.model_dir / "sample1.json").read_bytes() == b"[1, 2]" and "sample1.json" in found.notes[0]


def test_a_sample_that_is_packed_and_not_named_is_not_packed_again(tmp_path):
    project = make_project(tmp_path, config=CONFIG)
    write(tmp_path / "one.json", "[1, 2]")
    packed = create(replace(project, samples=(Extra("one.json", tmp_path),))).path
    found = measured(tmp_path / "a", packed)
    assert [each.path for each in found.opened.manifest.files if each.role == "sample"] == ["one.json"]


def test_a_models_name_does_not_lead_out_of_the_folder(tmp_path):
    archive = make_torchserve_archive(tmp_path / "m.mar", model={"modelName": "../../../out"})
    found = measured(tmp_path / "a", archive)
    assert found.file.parent == tmp_path / "a" / "made" and not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain; charset=utf-8", "image/jpeg", "image/webp", "application/octet-stream"]
)
def test_the_samples_name_stands_for_its_content_type(kind):
    assert content_type_of(f"sample{suffix_of(kind)}").partition(";")[0] == kind.partition(";")[0]


def test_bytes_are_not_said_to_be_an_array():
    assert suffix_of("application/octet-stream") == ".bin"


def test_what_no_suffix_stands_for_is_bytes():
    assert content_type_of(f"sample{suffix_of('application/x-of-our-own')}") == "application/octet-stream"
