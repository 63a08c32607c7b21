"""Archives that bring a requirements file, on real servers with the real pip."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from archiver.environments import environments
from tests.e2e.servers import archive_command, environment, running_server, wait_until_gone, write_model
from tests.packages import make_endless, make_wheel

ONE = "minWorkers: 1\nmaxWorkers: 1\n"
GIFT = "import gift\ndef handle(data, context): return data and [gift.VALUE for _ in data]\n"
ECHO = "def handle(data, context): return data and ['echo' for _ in data]\n"
INSTALLS = "--install-requirements"


def requiring(folder: Path, text: str, *, handler: str = GIFT, config: str = f"{ONE}useVenv: true\n") -> Path:
    """An archive with these requirements, named like its folder."""
    archive = write_model(folder, handler, name=folder.name, config=config, requirements__txt=text)
    file = archive / "MAR-INF" / "MANIFEST.json"
    manifest = json.loads(file.read_text())
    manifest["model"]["requirementsFile"] = "requirements.txt"
    file.write_text(json.dumps(manifest))
    return archive


def templates(pid: int) -> list[int]:
    """Pids of the server's template processes."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_model_is_served_with_its_requirements_until_it_is_unregistered(tmp_path: Path) -> None:
    store, cache = tmp_path / "store", tmp_path / "cache"
    gift = f"--no-index\ngift @ file://{make_wheel(tmp_path / 'wheels')}\n"
    first = requiring(store / "first", gift)
    requiring(store / "second", gift, config=ONE)
    requiring(store / "broken", "--no-index\nno-such-thing\n")
    with running_server(first, "--model-store", store, INSTALLS, cache=cache) as server:
        assert server.predict(b"x", model="first").text == "41"
        described = server.describe("first")
        assert (described["useVenv"], described["notApplied"]) == (True, [])
        assert described["environment"]["installed"] == ["gift==1.0"]
        before = templates(server.process.pid)
        assert len(before) == 2
        assert server.client.post("/models?url=second").status_code == 200
        assert server.predict(b"x", model="second").text == "41"
        (its_template,) = set(templates(server.process.pid)) - set(before)
        assert server.client.post("/models?url=second").status_code == 409
        answer = server.client.post("/models?url=broken")
        assert (answer.status_code, answer.json()["type"]) == (400, "ModelException")
        assert "No matching distribution found for no-such-thing" in answer.json()["message"]
        assert server.client.delete("/models/second").status_code == 200
        wait_until_gone(its_template)
        assert templates(server.process.pid) == before
        assert [each.busy for each in environments(cache / "environments")] == [True]
        assert server.stop() == 0
    assert sum("pip: Successfully installed gift-1.0" in line for line in server.log) == 1
    assert [each.busy for each in environments(cache / "environments")] == [False]


def test_without_permission_nothing_is_installed_and_it_is_said_once(tmp_path: Path) -> None:
    archive = requiring(tmp_path / "m", "no-such-thing\n", handler=ECHO)
    with running_server(archive, cache=tmp_path / "cache") as server:
        described = server.describe()
        assert (described["useVenv"], described["environment"]) == (False, None)
        (sentence,) = described["notApplied"]
        assert sentence.startswith("requirements.txt is not installed: `archive serve --install-requirements`")
        assert server.predict(b"x").text == "echo"
        server.stop()
    assert sum("is not installed" in line for line in server.log) == 1


def test_a_server_whose_model_cannot_have_its_requirements_does_not_start(tmp_path: Path) -> None:
    archive = requiring(tmp_path / "m", "--no-index\nno-such-thing\n")
    refused = archive_command("serve", "--port", "0", str(archive), INSTALLS, cache=tmp_path / "cache")
    assert refused.returncode == 1
    error = refused.stderr[refused.stderr.index("error: model") :].splitlines()
    assert error[0] == "error: model `m`: its requirements.txt cannot be installed: pip ended with status 1"
    assert error[-3].endswith("No matching distribution found for no-such-thing")
    assert error[-1].startswith(f"hint: all that pip said is in {tmp_path}/cache/environments/")
    (mentioned,) = [
        line
        for line in archive_command(
            "serve", "--port", "0", str(requiring(tmp_path / "n", "gift\n")), cache=tmp_path / "cache"
        ).stderr.splitlines()
        if line.startswith("hint:")
    ]
    assert "--install-requirements" in mentioned


def test_a_server_that_is_told_to_stop_while_it_installs_stops_at_once(tmp_path: Path) -> None:
    archive = requiring(tmp_path / "m", "./endless\n")
    fifo = make_endless(archive / "endless", tmp_path / "fifo")
    server = subprocess.Popen(
        [sys.executable, "-m", "archiver", "serve", "--port", "0", str(archive), INSTALLS],
        env=environment(tmp_path / "cache"),
    )
    builder = int(fifo.read_text())
    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0
    wait_until_gone(builder)
    assert [each for each in (tmp_path / "cache" / "environments").iterdir() if each.is_dir()] == []
