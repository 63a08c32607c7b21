from __future__ import annotations

import json

from tests.archiver.cli.archives import archive
from tests.archiver.signing.people import person
from tests.builders import make_archive, make_torchserve_archive, safetensors


def test_it_shows_manifest_config_with_origins_and_files(tmp_path):
    path = make_archive(tmp_path, checkpoint=safetensors(70_000))
    result = archive("inspect", path)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["echo", "1.0", str(path)]
    assert ["modelName", "echo"] in lines
    assert ["batchSize", "2", "yaml"] in lines
    assert ["rowRetry", "true", "default"] in lines
    (weights,) = [line for line in lines if line[:1] == ["model.safetensors"]]
    assert weights[1:5] == ["70.1", "kB", "stored", "weights"]


def test_as_json_it_is_one_document(tmp_path):
    path = make_archive(tmp_path)
    shown = json.loads(archive("inspect", path, "--json").stdout)
    assert shown["manifest"]["model"]["modelName"] == "echo"
    assert shown["problems"] == []
    assert {"key": "batchSize", "value": 2, "origin": "yaml"} in shown["config"]
    names = ["MAR-INF/MANIFEST.json", "MAR-INF/sbom.cdx.json", "handler.py", "model-config.yaml"]
    assert [file["name"] for file in shown["files"]] == names
    assert shown["digest"].startswith("sha256:")


def test_an_archive_of_torchserve_has_no_hashes_and_says_so(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar")
    assert "the manifest has no hashes" in archive("inspect", path).stdout
    assert json.loads(archive("inspect", path, "--json").stdout)["digest"] is None


def test_an_archive_without_manifest_is_shown_as_it_would_be_served(tmp_path):
    result = archive("inspect", make_torchserve_archive(tmp_path / "net.mar", manifest=False))
    assert "no manifest; taken from the files" in result.stdout
    assert ["handler", "handler.py"] in [line.split() for line in result.stdout.splitlines()]


def test_what_is_wrong_with_the_packed_config_is_shown_with_its_place(tmp_path):
    config = {"h.py": "", "c.yaml": "batchSize: eight\n"}
    path = make_torchserve_archive(tmp_path / "m.mar", members=config, model={"configFile": "c.yaml"})
    result = archive("inspect", path)
    assert result.exit_code == 0
    assert f"{path}/c.yaml:1:12: error: " in result.stdout


def test_a_refused_archive_is_one_sentence(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar", members={"../x": "1"})
    result = archive("inspect", path)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: refusing to open `{path}`: member `../x` would land outside the archive [archive/escapes-root]\n"
    )


def test_the_bill_of_materials_is_printed_as_it_is_packed(tmp_path):
    result = archive("inspect", make_archive(tmp_path), "--sbom")
    assert (result.exit_code, json.loads(result.stdout)["bomFormat"]) == (0, "CycloneDX")
    result = archive("inspect", make_torchserve_archive(tmp_path / "m.mar"), "--sbom")
    assert (result.exit_code, "has no MAR-INF/sbom.cdx.json" in result.stderr) == (1, True)


def test_whose_signature_it_has_is_said_and_not_proven(tmp_path):
    path, ann = make_archive(tmp_path, archive_format="no-archive"), person(tmp_path)
    assert "signed" not in archive("inspect", path).stdout
    archive("sign", path, "--key", ann.private)
    assert f"signed  by {ann.signer}; `archive verify` proves it" in archive("inspect", path).stdout
    (path / "MAR-INF" / "model.sig").write_text("x")
    assert "signed  the signature is no JSON" in archive("inspect", path).stdout
