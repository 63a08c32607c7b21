"""What `archive serve` is asked for, before anything is started."""

from __future__ import annotations

import pytest

from tests.e2e.servers import archive_command, write_model


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "no archive to serve"),
        (["--models", "all"], 2, "--models names archives of a model store"),
        (["--model-store", "store", "--models", "all"], 1, "no archive in the model store"),
        (["--model-store", "store", "--models", "none.mar"], 1, "no such archive"),
        (["none.mar"], 1, "no such archive: none.mar"),
        (["elsewhere", "--host", "0.0.0.0"], 2, "hint: --key-file FILE, or --insecure"),
        (["elsewhere", "--host", "::", "--grpc-port", "0"], 2, "everybody who reaches it could use the server"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(tmp_path, words, code, said):
    (tmp_path / "store").mkdir()
    write_model(tmp_path / "elsewhere", "")
    done = archive_command("serve", *words, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
