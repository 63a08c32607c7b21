from __future__ import annotations

import json

from tests.archiver.cli.archives import archive
from tests.archiver.signing.people import authority, certified_person, person
from tests.builders import make_archive, make_torchserve_archive, write


def test_a_whole_archive_is_said_to_be_right(tmp_path):
    path = make_archive(tmp_path)
    result = archive("verify", path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: 4 files, every sha256 is right\n")


def test_without_hashes_the_crcs_are_checked(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar")
    assert archive("verify", path).stdout == f"{path}: 2 files, every CRC is right\n"


def test_a_damaged_member_is_named(tmp_path):
    path = make_archive(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"batchSize: 2", b"batchSize: 3"))
    result = archive("verify", path)
    assert result.exit_code == 1
    assert result.stdout == f"{path}: error: member `model-config.yaml` fails its CRC [archive/damaged-member]\n"


def test_as_json_every_finding_has_its_code(tmp_path):
    path = make_archive(tmp_path, archive_format="no-archive")
    write(path / "handler.py", "x = 1\n")
    result = archive("verify", path, "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["ok"], shown["checked"]) == (1, False, "sha256")
    assert [finding["code"] for finding in shown["findings"]] == ["archive/hash-mismatch"]


def test_an_archive_that_is_cut_off_is_said(tmp_path):
    path = make_archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    result = archive("verify", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path}: its zip directory: ")


def test_with_a_key_the_signature_must_be_good_too(tmp_path):
    path, ann, bob = make_archive(tmp_path), person(tmp_path, "ann"), person(tmp_path, "bob")
    result = archive("verify", path, "--key", ann.public)
    assert (result.exit_code, "it has no signature [signature/missing]" in result.stdout) == (1, True)
    assert archive("sign", path, "--key", ann.private).exit_code == 0
    result = archive("verify", path, "--key", ann.public)
    said = f"{path}: 5 files, every sha256 is right; signed with {ann.signer} (ann.pem)\n"
    assert (result.exit_code, result.stdout) == (0, said)
    result = archive("verify", path, "--key", bob.public, "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["ok"], shown["signer"]) == (1, False, None)
    assert [finding["code"] for finding in shown["findings"]] == ["signature/unknown-signer"]


def test_with_a_certificate_the_signer_must_lead_to_it(tmp_path):
    path, root, other = make_archive(tmp_path), authority(tmp_path, "root"), authority(tmp_path, "other")
    cara = certified_person(tmp_path, root)
    assert archive("sign", path, "--key", cara.private, "--certificate", cara.chain).exit_code == 0
    result = archive("verify", path, "--certificate", root.file)
    assert (result.exit_code, "signed with certificate CN=cara" in result.stdout) == (0, True)
    result = archive("verify", path, "--certificate", other.file)
    assert (result.exit_code, "does not lead to CN=other" in result.stdout) == (1, True)


def test_a_key_where_a_certificate_belongs_is_told_apart(tmp_path):
    path, ann = make_archive(tmp_path), person(tmp_path)
    result = archive("verify", path, "--certificate", ann.public)
    assert result.exit_code == 1
    assert "ann.pem holds no certificate" in result.stderr
    assert "--key takes public keys" in result.stderr
