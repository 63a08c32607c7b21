"""What workers are kept from, with real ones: the server's secrets, memory and descriptors, files and the network."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from runner import landlock
from tests.e2e.servers import archive_command, running_server, write_model

#: Answers what the Python of a request comes to, or what it raises.
ASKED = """\
import multiprocessing, os, socket, subprocess, sys, tempfile, torch
from pathlib import Path

def attempt(code):
    try:
        return str(eval(code))
    except (OSError, MemoryError) as error:
        return type(error).__name__

def handle(data, context):
    return data and [attempt(row["body"]) for row in data]
"""
offered = pytest.mark.skipif(landlock.version() < 6, reason="this kernel offers no Landlock, or an old one")


def asking(folder: Path) -> Path:
    return write_model(folder, ASKED)


def test_handlers_do_not_see_the_servers_secrets(tmp_path: Path) -> None:
    variables = {"AWS_SECRET_ACCESS_KEY": "hush", "MODEL_LANG": "de", "HF_HOME": "/hf"}
    model = asking(tmp_path / "m")
    with running_server(model, cache=tmp_path / "cache", variables=variables) as server:
        names = "[os.environ.get(name) for name in ('AWS_SECRET_ACCESS_KEY', 'MODEL_LANG', 'HF_HOME')]"
        assert server.predict(names).text == "[None, 'de', '/hf']"
    assert any("do not see the environment's" in line and "hush" not in line for line in server.log)


def test_with_torchserves_config_they_see_all_that_is_not_on_its_blacklist(tmp_path: Path) -> None:
    (tmp_path / "c.properties").write_text("blacklist_env_vars=AWS_.*\n")
    variables = {"AWS_SECRET_ACCESS_KEY": "hush", "MODEL_LANG": "de", "MY_TOKEN": "seen"}
    asked = (asking(tmp_path / "m"), "--ts-config", tmp_path / "c.properties")
    with running_server(*asked, cache=tmp_path / "cache", variables=variables) as server:
        names = "[os.environ.get(name) for name in ('AWS_SECRET_ACCESS_KEY', 'MODEL_LANG', 'MY_TOKEN')]"
        assert server.predict(names).text == "[None, 'de', 'seen']"
    assert any("handlers see" in line and "MY_TOKEN" in line and "blacklist_env_vars" in line for line in server.log)


def test_a_worker_beyond_its_memory_answers_507_and_is_replaced(tmp_path: Path) -> None:
    source = (
        "import os, torch\ndef handle(data, ctx):\n    if data is None: return None\n"
        "    kept = [torch.ones(int(bytes(row['body'])) << 18) for row in data]\n"
        "    return [os.getpid() for _ in data]\n"
    )
    with running_server(write_model(tmp_path / "m", source), "--worker-memory", "1GB", cache=tmp_path / "cache") as s:
        first = s.predict(b"1").text
        assert (s.predict(b"2000").status_code, s.predict(b"2000").status_code) == (507, 507)
        assert s.predict(b"1").text != first
        assert s.describe()["applied"]["confinement"]["memory"] == 1_000_000_000


def test_a_limit_that_is_too_small_is_told(tmp_path: Path) -> None:
    done = archive_command("serve", str(asking(tmp_path / "m")), "--port", "0", "--worker-memory", "50MB")
    assert done.returncode == 1
    assert "TooLittleMemory: --worker-memory is 0.05 GB, but a worker has" in done.stderr
    assert "hint: --worker-memory 2GB" in done.stderr


KEPT = [
    *("open('/etc/shadow').read()", "os.listdir('/')", "open('written', 'w')", "open('{outside}').read()"),
    *("open('{outside}', 'w')", "open('/proc/{server}/environ').read()", "os.kill({server}, 9)"),
    *("os.symlink('{outside}', os.environ['TMPDIR'] + '/link') or open(os.environ['TMPDIR'] + '/link')",),
    *("socket.create_connection(('127.0.0.1', {port}))", "socket.socket().bind(('127.0.0.1', 0))"),
    *("[open(os.devnull) for _ in range(200)]",),
]
LET = {
    "tempfile.NamedTemporaryFile().write(b'1')": "1",
    "Path('handler.py').exists()": "True",
    "len(open('{allowed}').read())": "2",
    "subprocess.run([sys.executable, '-c', 'import torch']).returncode": "0",
    "subprocess.run(['cat', '{outside}'], stderr=subprocess.DEVNULL).returncode": "1",
    "multiprocessing.get_context('fork').Pool(1).map(abs, [-1])": "[1]",
    "torch.ones(3).share_memory_().is_shared()": "True",
}


@offered
def test_a_sandboxed_worker_has_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    outside, allowed = tmp_path / "outside", tmp_path / "allowed"
    for file in (outside, allowed):
        file.write_text("ab")
    arguments = (asking(tmp_path / "m"), "--sandbox", "--sandbox-read", allowed, "--worker-files", "128")
    with running_server(*arguments, cache=tmp_path / "cache", variables={"TMPDIR": str(tmp_path)}) as server:
        names = {
            "outside": outside,
            "allowed": allowed,
            "server": server.process.pid,
            "port": server.client.base_url.port,
        }

        def answer(code: str) -> str:
            return server.predict(code.format(**names)).text

        assert {code: answer(code) for code in KEPT} == {code: _refusal(code) for code in KEPT}
        assert {code: answer(code) for code in LET} == LET
        confined = server.describe()["applied"]["confinement"]
    assert confined["sandbox"].startswith("Landlock ") and confined["files"] == 128
    assert any("each worker is held to 128 descriptors, sandbox (Landlock" in line for line in server.log)
    assert outside.read_text() == "ab"


def _refusal(code: str) -> str:
    return "OSError" if "range" in code else "PermissionError"


@offered
def test_the_temporary_files_of_a_worker_go_with_it(tmp_path: Path) -> None:
    with running_server(asking(tmp_path / "m"), "--sandbox", cache=tmp_path / "cache") as server:
        folder = server.predict("os.environ['TMPDIR']").text
        os.kill(server.workers()[0], signal.SIGKILL)
        assert server.predict("os.environ['TMPDIR']").text != folder
        while Path(folder).exists():
            pass
        assert Path(folder).parent.exists()
        server.stop()
    assert not Path(folder).parent.exists()


@offered
def test_processes_that_meet_over_tcp_are_not_sandboxed(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", ASKED, config="torchrun: {nproc-per-node: 1}\n")
    done = archive_command("serve", str(model), "--port", "0", "--sandbox")
    assert (done.returncode, "which --sandbox takes from them" in done.stderr) == (1, True)
