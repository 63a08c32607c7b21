from __future__ import annotations

import hashlib
import json

import pytest

from archiver.errors import DamagedArchive, UsageError
from archiver.manifest import FileEntry, Manifest, created_on, digest, parse, synthesise, with_files

OLD = {  # as archives before TorchServe 0.2 have it
    "createdOn": "04/05/2020 18:57:36",
    "description": "",
    "implementationVersion": "1.0",
    "modelServerVersion": "1.0",
    "specificationVersion": "1.0",
    "license": "Apache 2.0",
    "runtime": "python3",
    "model": {"modelName": "densenet", "handler": "image_classifier", "serializedFile": "d.pth", "extensions": {}},
}


def _parse(document):
    return parse(json.dumps(document).encode(), "m.mar")


def test_a_manifest_survives_writing_and_reading():
    manifest = Manifest(
        "digits", "2.0", handler="handler.py", handler_class="Digits", created_on="x", build={"a": "b"}
    )
    manifest = with_files(
        manifest, [FileEntry("handler.py", 3, "0" * 64, "handler"), FileEntry("a", 1, "1", "extra")]
    )
    again = parse(manifest.to_bytes(), "m.mar")
    assert again.to_json() == manifest.to_json()
    assert [file.path for file in again.files] == ["a", "handler.py"]
    assert again.is_own


def test_the_upper_part_has_torchserves_fields_and_leaves_out_what_is_not_there():
    document = Manifest("digits", "1.0", handler="h.py", created_on="01/01/1980 00:00:00").to_json()
    assert document == {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {"modelName": "digits", "modelVersion": "1.0", "handler": "h.py"},
    }


def test_a_manifest_from_before_torchserve_0_2_is_read_and_is_not_taken_for_ours():
    manifest = _parse(OLD)
    assert (manifest.model_name, manifest.model_version, manifest.runtime) == ("densenet", "1.0", "python3")
    assert not manifest.is_own
    assert manifest.raw["license"] == "Apache 2.0"


def test_a_version_without_quotes_is_text():
    assert _parse({"model": {"modelName": "m", "modelVersion": 2.5}}).model_version == "2.5"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "is no JSON"),
        (b"[]", "has no `model` mapping"),
        (b'{"model": {}}', "has no `model.modelName`"),
        (b'{"model": {"modelName": ["m"]}}', "for `modelName`, which must be text"),
        (b'{"model": {"modelName": "m"}, "files": {}}', "has no list for `files`"),
        (b'{"model": {"modelName": "m"}, "files": [{"path": "x"}]}', "has a broken entry in `files`"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "JSON|nested"),
        (b'{"model": {"modelName": "\\ud800"}}', "half a character"),
    ],
)
def test_a_broken_manifest_is_named(data, said):
    with pytest.raises(DamagedArchive, match=said):
        parse(data, "m.mar")


def test_a_file_listed_twice_is_broken():
    file = {"path": "x", "size": 1, "sha256": "0", "role": "extra"}
    with pytest.raises(DamagedArchive, match="lists one file twice"):
        _parse({"model": {"modelName": "m"}, "files": [file, file]})


def test_created_on_is_torchserves_spelling_of_source_date_epoch_in_utc():
    assert created_on("1742210457") == "17/03/2025 11:20:57"


def test_created_on_is_a_constant_without_source_date_epoch():
    assert created_on(None) == "01/01/1980 00:00:00"


@pytest.mark.parametrize("value", ["yesterday", "1e9", "99999999999999999999"])
def test_an_impossible_source_date_epoch_is_said(value):
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        created_on(value)


def test_a_missing_manifest_is_made_from_the_files():
    manifest = synthesise("net", ["model.py", "net.pt", "handler.py", "model-config.yaml", "sub/other.py"])
    assert (manifest.model_name, manifest.model_version) == ("net", "1.0")
    assert (manifest.handler, manifest.serialized_file, manifest.model_file) == ("handler.py", "net.pt", "model.py")
    assert manifest.config_file == "model-config.yaml"


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        (["service.py", "util.py"], "service.py"),
        (["my_handler.py", "util.py"], "my_handler.py"),
        (["only.py"], "only.py"),
        (["a.py", "b.py"], None),
    ],
)
def test_the_handler_of_an_archive_without_manifest(files, handler):
    assert synthesise("m", files).handler == handler


def test_roles_in_a_foreign_archive_come_from_the_fields_that_name_files():
    manifest = Manifest("m", "1.0", handler="service:handle", serialized_file="m.pt", config_file="c.yaml")
    roles = manifest.roles()
    assert (roles["service.py"], roles["m.pt"], roles["c.yaml"]) == ("handler", "weights", "config")


def test_the_digest_is_what_sha256sum_would_say_of_the_sorted_list():
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    text = f"{one}  a\n{two}  b/c\n"
    assert digest([("b/c", two), ("a", one)]) == hashlib.sha256(text.encode()).hexdigest()


def test_keys_that_we_do_not_know_are_written_as_they_were_read():
    document = {
        "model": {"modelName": "m", "extensions": {"a": 1}},
        "publisher": {"author": "x"},
        "runtime": "python",
    }
    written = json.loads(parse(json.dumps(document).encode(), "m.mar").to_bytes())
    assert written["publisher"] == {"author": "x"}
    assert written["model"] == {"modelName": "m", "modelVersion": "1.0", "extensions": {"a": 1}}
