"""A server that serves signed archives only: at the start and over HTTP."""

from __future__ import annotations

import shutil
from pathlib import Path

from archiver.workflow.pack import pack_workflow
from tests.archiver.scan.payloads import calling
from tests.archiver.signing.people import person
from tests.builders import HANDLER, make_archive
from tests.e2e.servers import Server, archive_command, running_server

LOADS = """
        import pickle
        self.words = pickle.load(open("words.pkl", "rb"))
"""
ANSWERS = ('[row.get("body") for row in data]', "[self.words for row in data]")


def test_only_signed_archives_are_served(tmp_path: Path) -> None:
    ann, eve = person(tmp_path / "keys", "ann"), person(tmp_path / "eve", "eve")
    store, trusted = tmp_path / "store", tmp_path / "trusted"
    store.mkdir()
    trusted.mkdir()
    shutil.copy(ann.public, trusted)
    for name, signer in (("good", ann), ("foul", eve), ("bare", None)):
        made = make_archive(tmp_path / name, name=name)
        if signer is not None:
            assert archive_command("sign", str(made), "--key", str(signer.private)).returncode == 0
        shutil.move(made, store)
    options = ("--require-signature", trusted, "--model-store", store)
    with running_server(store / "good.mar", *options, cache=tmp_path / "cache") as server:
        assert server.predict(b"x", model="good").status_code == 200
        unpacked = sorted((tmp_path / "cache" / "models").iterdir())
        for file, said in (("foul.mar", "is by another signer"), ("bare.mar", "it has no signature")):
            answer = server.client.post("/models", params={"url": file, "initial_workers": 1})
            message = answer.json()["message"]
            assert answer.status_code == 403, answer.text
            assert said in message and file in message and "archive sign" in message and str(trusted) in message
        assert sorted((tmp_path / "cache" / "models").iterdir()) == unpacked
        shutil.copy(eve.public, trusted)
        assert server.client.post("/models", params={"url": "foul.mar", "initial_workers": 1}).status_code == 200
        assert server.predict(b"x", model="foul").status_code == 200


def test_a_trusted_signature_is_trust_in_what_needs_it(tmp_path: Path) -> None:
    """A pickle that calls more than torch's list allows: refused by itself, served where its maker is trusted."""
    ann, handler = person(tmp_path / "keys"), HANDLER.replace("self.initialized = True", LOADS).replace(*ANSWERS)
    path = make_archive(tmp_path, handler_text=handler, extra={"words.pkl": calling(len, "words", protocol=2)})
    refused = archive_command("serve", str(path), "--port", "0", cache=tmp_path / "cache")
    assert (refused.returncode, "words.pkl: builtins.len" in refused.stderr) == (1, True)
    assert archive_command("sign", str(path), "--key", str(ann.private)).returncode == 0
    with running_server(path, "--require-signature", ann.public, cache=tmp_path / "cache") as server:
        assert server.predict(b"x", model="echo").content == b"5"


def test_an_unsigned_archive_stops_the_start(tmp_path: Path) -> None:
    ann, path = person(tmp_path), make_archive(tmp_path)
    done = archive_command(
        *("serve", str(path), "--port", "0", "--require-signature", str(ann.public)), cache=tmp_path / "cache"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"refusing to serve `{path}`: it has no signature [signature/missing]" in done.stderr
    assert "hint: `archive sign echo.mar --key PRIVATE.pem` signs it" in done.stderr
    assert not (tmp_path / "cache" / "models").exists()


def test_keys_that_are_none_stop_the_start(tmp_path: Path) -> None:
    path = make_archive(tmp_path)
    done = archive_command("serve", str(path), "--port", "0", "--require-signature", str(tmp_path / "none.pem"))
    assert done.returncode == 1
    assert "none.pem does not exist" in done.stderr


def test_a_workflow_must_be_signed_and_its_models_too(tmp_path: Path) -> None:
    ann, store = person(tmp_path / "keys"), tmp_path / "store"
    store.mkdir()
    shutil.move(make_archive(tmp_path / "model", name="m1"), store)
    (tmp_path / "w.yaml").write_text("models: {one: {url: m1.mar}, two: {url: m1.mar}}\ndag: {one: [two]}\n")
    workflow = pack_workflow("w", tmp_path / "w.yaml", None, [], store).path
    options = ("--require-signature", ann.public, "--model-store", store)

    def register(server: Server) -> tuple[int, str]:
        answer = server.client.post("/workflows", params={"url": workflow.name})
        return answer.status_code, answer.text

    def sign(file: Path) -> None:
        assert archive_command("sign", str(file), "--key", str(ann.private)).returncode == 0

    with running_server(*options, cache=tmp_path / "cache") as server:
        status, said = register(server)
        assert (status, "w.war`: it has no signature" in said) == (403, True)
        sign(workflow)
        status, said = register(server)
        assert (status, "m1.mar`: it has no signature" in said) == (500, True)
        sign(store / "m1.mar")
        assert register(server)[0] == 200
        assert server.client.post("/wfpredict/w", content=b"x").status_code == 200
