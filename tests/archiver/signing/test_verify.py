from __future__ import annotations

import json
import shutil
import zipfile

import pytest

from archiver import store
from archiver.archive import Archive
from archiver.errors import ArchiveError, DamagedArchive, RefusedArchive, UntrustedSignature
from archiver.signing.keys import read_trusted
from archiver.signing.sign import sign
from archiver.signing.verify import Gate, verify_signature
from tests.archiver.signing.people import person
from tests.builders import HANDLER, make_archive, make_torchserve_archive


@pytest.fixture
def ann(tmp_path):
    return person(tmp_path / "keys")


def findings(path, person):
    with Archive.open(path) as archive:
        return [finding.code for finding in verify_signature(archive, person.trusted)[1]]


def test_the_signer_is_named(tmp_path, ann):
    path = make_archive(tmp_path)
    sign(path, ann.signer)
    with Archive.open(path) as archive:
        assert verify_signature(archive, ann.trusted) == (f"{ann.signer} (ann.pem)", [])


def test_an_archive_without_a_signature_is_told_how_to_get_one(tmp_path, ann):
    with Archive.open(make_archive(tmp_path)) as archive:
        signer, (finding,) = verify_signature(archive, ann.trusted)
    assert (signer, finding.code) == (None, "signature/missing")
    assert finding.hint == "`archive sign FILE --key PRIVATE.pem` signs it"


def test_a_signature_that_is_none_is_malformed(tmp_path, ann):
    folder = make_archive(tmp_path, archive_format="no-archive")
    for data in (b"", b"{}", b"x" * (17 << 20)):
        (folder / "MAR-INF" / "model.sig").write_bytes(data)
        assert findings(folder, ann) == ["signature/malformed"]


def test_files_that_come_go_or_change_in_a_folder_are_named(tmp_path, ann):
    folder = make_archive(tmp_path, archive_format="no-archive")
    sign(folder, ann.signer)
    compiled = folder / "__pycache__" / "handler.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"")
    (folder / "model-config.yaml").rename(folder / ".hidden.yaml")
    (folder / "handler.py").write_text("other")
    with Archive.open(folder) as archive:
        messages = [finding.message for finding in verify_signature(archive, ann.trusted)[1]]
    assert messages[0] == "member `.hidden.yaml` is not in its signature"
    assert messages[1] == "member `__pycache__/handler.pyc` is not in its signature"
    assert messages[2].startswith("member `handler.py` has the sha256 ")
    assert messages[3] == "member `model-config.yaml` of its signature is not there"


def test_a_hidden_link_to_a_folder_is_refused(tmp_path, ann):
    folder = make_archive(tmp_path, archive_format="no-archive")
    sign(folder, ann.signer)
    (folder / ".git").symlink_to(tmp_path)
    with pytest.raises(RefusedArchive, match=r"`\.git` is a link to a folder"):
        findings(folder, ann)


def test_paths_that_a_statement_ignores_must_be_signed_all_the_same(tmp_path, ann):
    from archiver.signing import statement

    folder = make_archive(tmp_path, archive_format="no-archive")
    files = sign(folder, ann.signer)
    payload = json.loads(statement.payload_of("m", files))
    payload["predicate"]["serialization"]["ignore_paths"].append("late.py")
    (folder / "MAR-INF" / "model.sig").write_bytes(statement.to_bytes(ann.signer.sign(json.dumps(payload).encode())))
    assert findings(folder, ann) == []
    (folder / "late.py").write_text("")
    assert findings(folder, ann) == ["signature/unsigned-member"]


def test_a_manifest_made_anew_for_altered_files_does_not_help(tmp_path, ann):
    path = make_archive(tmp_path / "a")
    sign(path, ann.signer)
    altered = make_archive(tmp_path / "b", handler_text=HANDLER + "import os\n", archive_format="no-archive")
    with Archive.open(path) as archive:
        (altered / "MAR-INF" / "model.sig").write_bytes(archive.read("MAR-INF/model.sig"))
    with Archive.open(altered) as archive:
        assert archive.verify() == []
    assert findings(altered, ann) == ["signature/altered-member"] * 3


def test_a_manifest_does_not_vouch_for_itself(tmp_path, ann):
    path = make_archive(tmp_path, archive_format="no-archive")
    files = sign(path, ann.signer)
    manifest = path / "MAR-INF" / "MANIFEST.json"
    document = json.loads(manifest.read_text())
    document["model"]["handler"] = "other.py"
    entry = {"path": "MAR-INF/MANIFEST.json", "size": 1, "sha256": files["MAR-INF/MANIFEST.json"], "role": "extra"}
    document["files"].append(entry)
    manifest.write_text(json.dumps(document))
    packed = tmp_path / "m.mar"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (file for file in path.rglob("*") if file.is_file()):
            archive.writestr(zipfile.ZipInfo(file.relative_to(path).as_posix()), file.read_bytes())
    assert findings(packed, ann) == ["signature/altered-member"]


# The gate of `archive serve --require-signature`.


def unpacked(path, keys, tmp_path):
    return store.unpack(path, cache=tmp_path / "cache", gate=Gate(keys, read_trusted))


def refusal(path, keys, tmp_path):
    with pytest.raises(UntrustedSignature) as refused:
        unpacked(path, keys, tmp_path)
    return refused.value


@pytest.mark.parametrize("foreign", [True, False])
def test_the_gate_lets_pass_what_is_signed_and_refuses_the_rest_before_it_is_unpacked(tmp_path, ann, foreign):
    path = make_torchserve_archive(tmp_path / "m.mar") if foreign else make_archive(tmp_path)
    error = refusal(path, ann.public, tmp_path)
    assert str(error) == f"refusing to serve `{path}`: it has no signature [signature/missing]"
    assert error.hint == f"`archive sign {path.name} --key PRIVATE.pem` signs it, with a key of {ann.public}"
    assert not (tmp_path / "cache").exists()
    sign(path, ann.signer)
    for _ in range(2):
        found = unpacked(path, ann.public, tmp_path)
        assert (found.model_dir / "handler.py").read_text() == HANDLER
    bob = person(tmp_path / "keys", "bob")
    said = str(refusal(path, bob.public, tmp_path))
    assert "is by another signer" in said and "(bob.pem)" in said and str(path) in said


def test_what_was_unpacked_before_is_refused_without_a_signature_all_the_same(tmp_path, ann):
    path = make_archive(tmp_path)
    store.unpack(path, cache=tmp_path / "cache")
    assert refusal(path, ann.public, tmp_path).code == "signature/missing"


def test_a_member_that_is_not_as_its_signed_manifest_says_is_not_unpacked(tmp_path, ann):
    import zlib

    path = make_archive(tmp_path)
    sign(path, ann.signer)
    old, new = HANDLER.encode(), HANDLER.replace("True", "None").encode()
    crcs = [zlib.crc32(text).to_bytes(4, "little") for text in (old, new)]
    path.write_bytes(path.read_bytes().replace(old, new).replace(*crcs))
    with pytest.raises(DamagedArchive, match=r"`handler\.py` was altered"):
        unpacked(path, ann.public, tmp_path)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_an_archive_that_was_changed_after_it_was_signed_is_to_be_got_anew(tmp_path, ann):
    path = make_torchserve_archive(tmp_path / "m.mar")
    sign(path, ann.signer)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo("late.py"), "")
    error = refusal(path, ann.public, tmp_path)
    assert (error.code, error.hint) == (
        "signature/unsigned-member",
        "it was changed after it was signed: get it anew from whom it is",
    )


def test_what_changes_between_the_check_and_unpacking_is_refused(tmp_path, ann):
    path = make_torchserve_archive(tmp_path / "m.mar", compression=0)
    sign(path, ann.signer)
    gate = Gate(ann.public, read_trusted)

    def gate_and_change(archive):
        digest = gate(archive)
        other = make_torchserve_archive(
            tmp_path / "other" / "m.mar", compression=0, members={"handler.py": HANDLER.replace("True", "None")}
        )
        sign(other, ann.signer)
        path.write_bytes(other.read_bytes())
        return digest

    with pytest.raises(DamagedArchive):
        store.unpack(path, cache=tmp_path / "cache", gate=gate_and_change)


def test_keys_come_and_go_while_the_gate_is_there(tmp_path, ann):
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy(ann.public, folder)
    path, gate = make_archive(tmp_path), Gate(folder, read_trusted)
    bob = person(tmp_path / "keys", "bob")
    sign(path, bob.signer)
    with pytest.raises(UntrustedSignature):
        store.unpack(path, cache=tmp_path / "cache", gate=gate)
    shutil.copy(bob.public, folder)
    store.unpack(path, cache=tmp_path / "cache", gate=gate)
    (folder / "bob.pem").unlink()
    with pytest.raises(UntrustedSignature):
        store.unpack(path, cache=tmp_path / "cache", gate=gate)


def test_a_folder_is_not_served_behind_the_gate_for_it_can_change_at_any_time(tmp_path, ann):
    folder = make_archive(tmp_path, archive_format="no-archive")
    sign(folder, ann.signer)
    error = refusal(folder, ann.public, tmp_path)
    assert (error.code, error.hint) == ("signature/folder", "`archive create` packs it, `archive sign` signs it")


def test_a_gate_without_keys_is_a_mistake_at_once(tmp_path):
    with pytest.raises(ArchiveError, match="holds no public key"):
        Gate(tmp_path, read_trusted)
