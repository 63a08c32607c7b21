from __future__ import annotations

import json
import subprocess
import sys

from click.testing import CliRunner

from archiver.cli import main
from tests.archiver.cli.archives import archive
from tests.archiver.signing.people import person
from tests.builders import make_archive


def test_who_signed_how_much_is_said(tmp_path):
    path, ann = make_archive(tmp_path), person(tmp_path)
    result = archive("sign", path, "--key", ann.private)
    assert (result.exit_code, result.stdout) == (0, f"{path}: 4 files signed with {ann.signer}\n")


def test_as_json_every_signed_file_has_its_hash(tmp_path):
    path, ann = make_archive(tmp_path), person(tmp_path)
    shown = json.loads(archive("sign", path, "--key", ann.private, "--json").stdout)
    assert (shown["signature"], shown["signer"]) == ("MAR-INF/model.sig", str(ann.signer))
    assert "handler.py" in shown["files"]


def test_a_signature_is_not_replaced_unasked(tmp_path):
    path, ann = make_archive(tmp_path), person(tmp_path)
    archive("sign", path, "--key", ann.private)
    result = archive("sign", path, "--key", ann.private)
    assert (result.exit_code, "add --force to replace it" in result.stderr) == (1, True)
    assert archive("sign", path, "--key", ann.private, "--force").exit_code == 0


def test_a_key_that_is_not_there_says_how_to_make_one(tmp_path):
    result = archive("sign", make_archive(tmp_path), "--key", tmp_path / "none.pem")
    assert (result.exit_code, "openssl ecparam" in result.stderr) == (1, True)


def test_the_password_of_an_encrypted_key_is_asked_for(tmp_path):
    path, ann = make_archive(tmp_path), person(tmp_path, password=b"sesame")
    result = CliRunner().invoke(main, ["sign", str(path), "--key", str(ann.private)], input="sesame\n")
    assert result.exit_code == 0
    assert "sesame" not in result.output


def test_without_cryptography_the_extra_is_named(tmp_path):
    code = "import sys; sys.modules['cryptography'] = None; from archiver.cli import main; main()"
    path = make_archive(tmp_path)
    arguments = [sys.executable, "-c", code, "sign", str(path), "--key", "k.pem"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'torch-archive[sign]'" in done.stderr
