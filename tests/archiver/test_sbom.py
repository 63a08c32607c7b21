from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from archiver.archive import Archive
from archiver.manifest import SBOM, FileEntry, Manifest
from archiver.pack import create
from archiver.project import from_flags
from archiver.sbom import _SPDX, document, libraries_of, requirement_lines, to_bytes
from tests.builders import make_archive, write

HERE = {"numpy": "2.4.6", "Pillow": "11.0.0", "torch": "2.13.0+cpu"}.get
FILES = (FileEntry("handler.py", 3, "0a" * 32, "handler"), FileEntry("a/ü.bin", 3, "0b" * 32, "extra"))
BUILD = {"torch": "2.13.0+cpu", "python": "3.11.7"}
MANIFEST = Manifest("m", "1.0", created_on="31/12/2024 23:59:58", archiver_version="0.1.0", files=FILES, build=BUILD)


def faults(data):
    """What the format's own schema says against it."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())


def packages(requirements, manifest=MANIFEST):
    found = document(manifest, requirements, HERE)["components"]
    return {each["name"]: each for each in found if each["type"] in ("library", "framework")}


@pytest.mark.parametrize(
    "license", [None, "Apache-2.0", "MIT OR (GPL-2.0-only WITH Classpath-exception-2.0)", "ours"]
)
def test_a_project_s_bill_of_materials_keeps_cyclonedx_schema(tmp_path, license):
    write(tmp_path / "requirements.txt", "numpy>=1\nno-such-package==4.2\n# a comment\n-r more.txt\n")
    write(tmp_path / "handler.py", "def handle(data, context): return data\n")
    project = from_flags(
        model_name="m",
        handler=str(tmp_path / "handler.py"),
        requirements_file=tmp_path / "requirements.txt",
        license=license,
        description="One.",
        export_path=tmp_path,
    )
    create(project)
    with Archive.open(tmp_path / "m.mar") as archive:
        data = archive.read(SBOM)
        assert archive.manifest.license == license
    assert faults(data) is None
    bill = json.loads(data)
    assert [name for name, _ in libraries_of(data)] == ["numpy", "no-such-package"]
    assert ("licenses" in bill["metadata"]["component"]) == (license is not None)


def test_odd_requirements_keep_the_schema_too():
    text = "git+https://host/x.git@v1\nx @ https://host/x.whl\nnumpy\nnumpy<3\n./local.whl\n!?\ntorch>=2\n\n"
    assert faults(to_bytes(MANIFEST, text, HERE)) is None


def test_the_model_its_licence_and_its_tool_are_named():
    bill = document(MANIFEST, "", HERE)
    assert bill["metadata"] == {
        "timestamp": "2024-12-31T23:59:58Z",
        "tools": {"components": [{"type": "application", "name": "torch-archive", "version": "0.1.0"}]},
        "component": {"type": "machine-learning-model", "bom-ref": "model", "name": "m", "version": "1.0"},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Apache-2.0", {"license": {"id": "Apache-2.0"}}),
        ("MIT OR Apache-2.0", {"expression": "MIT OR Apache-2.0"}),
        ("only for friends", {"license": {"name": "only for friends"}}),
        ("MIT OR ours", {"license": {"name": "MIT OR ours"}}),
    ],
)
def test_a_licence_is_an_expression_or_a_name(text, said):
    from dataclasses import replace

    bill = document(replace(MANIFEST, license=text), "", HERE)
    assert bill["metadata"]["component"]["licenses"] == [said]


@pytest.mark.parametrize("license", sorted(_SPDX))
def test_spdx_has_the_ids_that_are_written_as_such(license):
    from dataclasses import replace

    assert faults(to_bytes(replace(MANIFEST, license=license), "", HERE)) is None


def test_every_file_has_its_hash_and_role():
    files = [each for each in document(MANIFEST, "", HERE)["components"] if each["type"] == "file"]
    assert [(each["name"], each["hashes"]) for each in files] == [
        (file.path, [{"alg": "SHA-256", "content": file.sha256}]) for file in FILES
    ]
    assert files[0]["properties"] == [{"name": "torch-archive:role", "value": "handler"}]


def test_a_requirement_has_the_version_installed_or_the_one_it_pins_and_what_was_asked_for():
    found = packages("numpy>=1.26\nzlib_ng==0.5.1 ; python_version < '4'\nunknown~=1.0\nPillow")
    assert (found["numpy"]["version"], found["numpy"]["purl"]) == ("2.4.6", "pkg:pypi/numpy@2.4.6")
    assert found["numpy"]["properties"] == [{"name": "torch-archive:requirement", "value": "numpy>=1.26"}]
    assert found["zlib-ng"]["purl"] == "pkg:pypi/zlib-ng@0.5.1"
    assert "version" not in found["unknown"] and found["unknown"]["purl"] == "pkg:pypi/unknown"
    assert found["pillow"]["version"] == "11.0.0"


def test_a_pin_counts_more_than_what_happens_to_be_installed():
    found = packages("numpy==1.26.4\nPillow==1.*")
    assert (found["numpy"]["version"], found["pillow"]["version"]) == ("1.26.4", "11.0.0")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x @ https://host/x.whl?token=secret#sha256=ab", "x @ https://host/x.whl#sha256=ab"),
        (
            "x @ git+https://secret@host/x.git@v1 ; python_version > '3'",
            "x @ git+https://host/x.git@v1 ; python_version > '3'",
        ),
        ("x @ file:///home/secret/x.whl", "x @ file:x.whl"),
        ("/home/secret/x.whl", "x.whl"),
        ("x @ https://host/a/b/x.whl", "x @ https://host/a/b/x.whl"),
    ],
)
def test_tokens_and_the_builder_s_folders_are_left_out(line, said):
    assert list(requirement_lines(line)) == [said]


def test_torch_is_the_framework_also_when_it_is_required():
    found = packages("torch>=2")["torch"]
    assert (found["type"], found["purl"]) == ("framework", "pkg:pypi/torch@2.13.0%2Bcpu")
    assert found["properties"] == [{"name": "torch-archive:requirement", "value": "torch>=2"}]


def test_options_of_pip_and_passwords_in_addresses_are_left_out():
    text = "--index-url https://me:secret@host/simple\n-e .\nnumpy \\\n  >=1 --hash=sha256:ab  # why\n"
    assert list(requirement_lines(text)) == ["numpy    >=1"]
    assert list(requirement_lines("x @ https://me:secret@host/x.whl")) == ["x @ https://host/x.whl"]
    assert b"secret" not in to_bytes(MANIFEST, text, HERE)


def test_a_date_that_is_not_of_the_archiver_is_left_out():
    from dataclasses import replace

    assert "timestamp" not in document(replace(MANIFEST, created_on="yesterday"), "", HERE)["metadata"]


def test_the_same_inputs_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    bills = []
    for folder in ("a", "b"):
        with Archive.open(make_archive(tmp_path / folder)) as archive:
            bills.append(archive.read(SBOM))
    assert bills[0] == bills[1]
    assert json.loads(bills[0])["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert b"serialNumber" not in bills[0]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"components": [1]}', b'{"components": {"type": "library"}}'])
def test_what_is_no_bill_of_materials_names_no_packages(data):
    assert list(libraries_of(data)) == []
