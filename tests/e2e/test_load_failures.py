"""Handlers and archives that cannot be served: a short message, exit code 1, no traceback of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.archiver.scan.payloads import calling
from tests.builders import make_archive
from tests.e2e.servers import archive_command, running_server, write_model

CASES = {
    "no-class": ("x = 1\n", "handler.py"),
    "two-classes": (
        "class A:\n    def handle(self, d, c): ...\nclass B:\n    def handle(self, d, c): ...\n",
        "handler.py:",
    ),
    "raises-at-import": ("import no_such_module_anywhere\n", "no_such_module_anywhere"),
    "syntax-error": ("def handle(:\n", "SyntaxError"),
    "raises-at-load": (
        "class H:\n    def initialize(self, ctx): raise RuntimeError('weights are missing')\n"
        "    def handle(self, d, c): return d\n",
        "weights are missing",
    ),
    "sys-exit": ("import sys\nsys.exit(4)\n", "SystemExit"),
    "dies-at-load": ("import os\nos._exit(7)\n", "exited with status 7"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_handler_that_cannot_load_ends_the_server_with_the_reason(case: str, tmp_path: Path) -> None:
    source, said = CASES[case]
    folder = write_model(tmp_path / "model", source)
    result = archive_command("serve", "--port", "0", "--log-level", "error", str(folder), cache=tmp_path / "cache")
    assert result.returncode == 1
    assert said in result.stderr
    assert "error: model `m` failed to load" in result.stderr
    assert "runner/service.py" not in result.stderr
    assert result.stdout == ""


def test_a_handler_that_never_loads_is_ended_after_startup_timeout(tmp_path: Path) -> None:
    source = "import time\nclass H:\n    def initialize(self, c): time.sleep(600)\n    def handle(self, d, c): ...\n"
    config = "minWorkers: 1\nmaxWorkers: 1\nstartupTimeout: 1\n"
    folder = write_model(tmp_path / "model", source, config=config)
    result = archive_command("serve", "--port", "0", str(folder), cache=tmp_path / "cache")
    assert result.returncode == 1
    assert "not loaded within startupTimeout (1 s)" in result.stderr


def test_a_missing_archive_is_told_with_a_hint(tmp_path: Path) -> None:
    result = archive_command("serve", str(tmp_path / "nothing.mar"))
    assert result.returncode == 1
    assert "error: no such archive" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broken.mar"
    path.write_bytes(b"PK\x03\x04 not really")
    result = archive_command("serve", str(path), cache=tmp_path / "cache")
    assert result.returncode == 1
    assert "broken.mar" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bad_flag_value_is_told_like_a_bad_config(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "def handle(d, c): return d\n")
    result = archive_command("serve", str(folder), "--set", "pt2.compile.mode=fastest")
    assert result.returncode == 1
    assert "pt2" in result.stderr or "mode" in result.stderr


def test_two_archives_with_one_name_are_told_apart_by_name(tmp_path: Path) -> None:
    first = write_model(tmp_path / "a", "def handle(d, c): return d\n")
    second = write_model(tmp_path / "b", "def handle(d, c): return d\n")
    result = archive_command("serve", "--port", "0", str(first), str(second), cache=tmp_path / "cache")
    assert result.returncode == 1
    assert "two archives hold model `m` version 1.0" in result.stderr


def test_a_project_folder_is_told_from_an_archive(tmp_path: Path) -> None:
    (tmp_path / "archive.yaml").write_text("name: m\n")
    result = archive_command("serve", str(tmp_path))
    assert result.returncode == 1
    assert "is a project, not an archive" in result.stderr
    assert f"archive create {tmp_path}" in result.stderr


def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "project")
    blocked = tmp_path / "file"
    blocked.touch()
    result = archive_command("serve", "--port", "0", str(archive), cache=blocked / "cache")
    assert result.returncode == 1
    assert "cannot unpack" in result.stderr
    assert "TORCH_ARCHIVE_CACHE" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_checkpoint_that_needs_unpickling_is_refused_unless_trusted(tmp_path: Path) -> None:
    source = (
        "import argparse, torch\nclass H:\n"
        "    def initialize(self, c):\n"
        "        torch.save(argparse.Namespace(x=1), 'p.pt'); self.x = torch.load('p.pt', weights_only=False).x\n"
        "    def handle(self, d, c): return [self.x] * len(d)\n"
    )
    folder = write_model(tmp_path / "model", source)
    result = archive_command("serve", "--port", "0", str(folder), cache=tmp_path / "cache")
    assert result.returncode == 1
    assert "argparse.Namespace" in result.stderr
    assert "--trust" in result.stderr
    with running_server(folder, "--trust", cache=tmp_path / "cache") as server:
        assert server.predict("x").json() == 1


def test_a_pickle_beyond_torch_s_list_is_named_with_its_entry_and_never_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    vocabulary = calling(os.system, f"touch {touched}")
    source = (
        "import pickle\nclass H:\n"
        "    def initialize(self, c): self.x = pickle.load(open('labels.txt', 'rb'))\n"
        "    def handle(self, d, c): return [self.x] * len(d)\n"
    )
    folder = write_model(tmp_path / "store" / "model", source, labels__txt=vocabulary)
    result = archive_command("serve", "--port", "0", str(folder), cache=tmp_path / "cache")
    assert result.returncode == 1
    assert "labels.txt: posix.system" in result.stderr
    assert "--trust" in result.stderr
    with running_server(
        write_model(tmp_path / "good", "def handle(data, context): return data\n", name="good"),
        "--model-store",
        str(folder.parent),
        cache=tmp_path / "cache",
    ) as server:
        refused = server.client.post("/models", params={"url": "model"})
        assert (refused.status_code, "labels.txt: posix.system" in refused.text) == (400, True)
        assert server.client.get("/ping").status_code == 200
    assert not touched.exists()
    with running_server(folder, "--trust", cache=tmp_path / "cache") as server:
        assert server.predict("x").json() == 0
    assert touched.exists()
