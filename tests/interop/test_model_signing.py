"""Signatures go both ways: the official tool of OpenSSF Model Signing accepts ours, `archive verify` accepts its."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.archiver.signing.people import Authority, Person, authority, certified_person, person
from tests.builders import make_archive, make_torchserve_archive, safetensors
from tests.e2e.projects import archive
from tests.e2e.servers import archive_command

pytestmark = pytest.mark.interop

SIGNATURE = Path("MAR-INF", "model.sig")
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


@pytest.fixture(scope="module")
def tool() -> Path:
    """The program that MODEL_SIGNING_BIN's folder holds; skips the test without one."""
    folder = os.environ.get("MODEL_SIGNING_BIN")
    if not folder or not Path(folder, "model_signing").is_file():
        pytest.skip("MODEL_SIGNING_BIN does not name a folder with model_signing; `make test-interop` sets it up")
    return Path(folder, "model_signing").absolute()


def official(tool: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [str(tool), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": ""})


def accepted(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether it says so; a crash is no refusal."""
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode == 0


def unpacked(path: Path) -> Path:
    folder = path.parent / "unpacked"
    archive("extract", path, folder, folder=path.parent)
    return folder


def by_key(tool: Path, folder: Path, signer: Person) -> bool:
    asked = ("verify", "key", folder, "--signature", folder / SIGNATURE, "--public_key", signer.public)
    return accepted(official(tool, *asked))


def by_certificate(tool: Path, folder: Path, root: Authority) -> bool:
    asked = ("--signature", folder / SIGNATURE, "--certificate_chain", root.file)
    return accepted(official(tool, "verify", "certificate", folder, *asked))


def ours(folder: Path, *flags: object) -> bool:
    done = archive_command("verify", str(folder), *map(str, flags))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_the_official_tool_accepts_our_signature_of_an_unpacked_archive_and_notices_a_change(tool, tmp_path, curve):
    ann, eve = person(tmp_path / "keys", "ann", curve), person(tmp_path / "keys", "eve", curve)
    extra = {"assets/deep/a.txt": "1", "a-b.txt": "2", "a.txt": "3"}
    path = make_archive(tmp_path, checkpoint=safetensors(100_000), extra=extra)
    archive("sign", path, "--key", ann.private, folder=tmp_path)
    folder = unpacked(path)
    assert by_key(tool, folder, ann)
    assert not by_key(tool, folder, eve)
    (folder / "handler.py").write_text("other")
    assert not by_key(tool, folder, ann)


def test_it_accepts_our_signature_of_an_archive_of_torchserve(tool, tmp_path):
    ann, path = person(tmp_path / "keys"), make_torchserve_archive(tmp_path / "m.mar")
    archive("sign", path, "--key", ann.private, folder=tmp_path)
    assert by_key(tool, unpacked(path), ann)


def test_it_accepts_our_signature_by_certificate(tool, tmp_path):
    root = authority(tmp_path / "keys")
    between = authority(tmp_path / "keys", "between", root)
    cara = certified_person(tmp_path / "keys", between, root)
    path = make_archive(tmp_path)
    archive("sign", path, "--key", cara.private, "--certificate", cara.chain, folder=tmp_path)
    folder = unpacked(path)
    assert by_certificate(tool, folder, root)
    assert not by_certificate(tool, folder, authority(tmp_path / "keys", "other"))


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_we_accept_its_signature_and_notice_a_change(tool, tmp_path, curve):
    ann, eve = person(tmp_path / "keys", "ann", curve), person(tmp_path / "keys", "eve", curve)
    folder = unpacked(make_archive(tmp_path, extra={"assets/deep/a.txt": "1"}))
    signed = ("sign", "key", folder, "--signature", folder / SIGNATURE, "--private_key", ann.private)
    assert accepted(official(tool, *signed))
    assert ours(folder, "--key", ann.public)
    assert not ours(folder, "--key", eve.public)
    (folder / "assets" / "late.py").write_text("")
    assert not ours(folder, "--key", ann.public)


def test_we_accept_its_signature_by_certificate(tool, tmp_path):
    root = authority(tmp_path / "keys")
    between = authority(tmp_path / "keys", "between", root)
    cara = certified_person(tmp_path / "keys", between, root)
    own = tmp_path / "keys" / "own.pem"
    own.write_text(cara.chain.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    folder = unpacked(make_archive(tmp_path))
    asked = ("--private_key", cara.private, "--signing_certificate", own, "--certificate_chain", between.file)
    signed = official(tool, "sign", "certificate", folder, "--signature", folder / SIGNATURE, *asked)
    assert accepted(signed), signed.stderr
    assert ours(folder, "--certificate", root.file)
    assert not ours(folder, "--certificate", authority(tmp_path / "keys", "other").file)


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_both_refuse_a_file_that_came_or_went(tool, tmp_path, curve):
    ann, path = person(tmp_path / "keys", "ann", curve), make_archive(tmp_path, extra={"a.txt": "1"})
    archive("sign", path, "--key", ann.private, folder=tmp_path)
    folder = unpacked(path)
    (folder / "a.txt").rename(folder / "b.txt")
    assert not by_key(tool, folder, ann)
    assert not ours(folder, "--key", ann.public)
