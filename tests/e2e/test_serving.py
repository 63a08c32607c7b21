"""The life of a server: ready, serving, killed workers and template, drain, ports, memory."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import Server, archive_command, running_server, wait_until_gone, write_model

ECHO = "def handle(data, ctx): return data and [r.get('body') for r in data]\n"
SLOW = (
    "import time\ndef handle(data, ctx):\n    if data: time.sleep(1)\n    return data and [r['body'] for r in data]\n"
)
TWO_WORKERS = "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\njobQueueSize: 20000\n"


class Load:
    """Clients that post without pause until told to stop, and count what they get."""

    def __init__(self, server: Server, clients: int = 8, path: str = "/predictions/m") -> None:
        self.statuses: Counter[str] = Counter()
        self._url = f"{server.url}{path}"
        self._stop = threading.Event()
        self._answered = threading.Event()
        self._threads = [threading.Thread(target=self._post) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _post(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                try:
                    self.statuses[str(client.post(self._url, content=b"x").status_code)] += 1
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    self.statuses[type(error).__name__] += 1
                self._answered.set()

    def wait_for_answers(self, count: int) -> None:
        """Until that many more requests have been answered."""
        target = sum(self.statuses.values()) + count
        while sum(self.statuses.values()) < target:
            self._answered.clear()
            assert self._answered.wait(30), f"no answers any more: {self.statuses}"

    def stop(self) -> Counter[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.statuses


def test_bodies_of_every_kind_reach_the_handler(tmp_path: Path) -> None:
    source = (
        "def handle(data, ctx):\n"
        "    return data and [{k: (type(v).__name__, v if not isinstance(v, bytearray) else v.hex())\n"
        "                      for k, v in r.items()} for r in data]\n"
    )
    with running_server(write_model(tmp_path / "m", source), cache=tmp_path / "cache") as server:
        assert server.predict({"a": 1}).json() == {"body": ["dict", {"a": 1}]}
        assert server.predict("text").json() == {"body": ["str", "text"]}
        assert server.predict(b"\x00\xff").json() == {"body": ["bytearray", "00ff"]}
        form = server.client.post("/predictions/m", data={"k": "v"})
        assert form.json() == {"k": ["bytearray", "76"]}
        upload = server.client.post("/predictions/m", files={"data": ("f.bin", b"\x01", "application/octet-stream")})
        assert upload.json() == {"data": ["bytearray", "01"]}


def test_status_headers_and_request_ids_go_both_ways(tmp_path: Path) -> None:
    source = (
        "def handle(data, ctx):\n"
        "    if data is None: return None\n"
        "    for i in range(len(data)):\n"
        "        ctx.set_response_status(code=201, phrase='made', idx=i)\n"
        "        ctx.set_response_header(i, 'X-Seen', ctx.get_request_header(i, 'X-Sent'))\n"
        "        ctx.set_response_content_type(i, 'text/x-own')\n"
        "    return [ctx.get_request_id(i) for i in range(len(data))]\n"
    )
    with running_server(write_model(tmp_path / "m", source), cache=tmp_path / "cache") as server:
        response = server.predict("x", **{"X-Sent": "hello", "X-Request-Id": "id-7"})
    assert (response.status_code, response.text) == (201, "id-7")
    assert response.headers["x-seen"] == "hello"
    assert response.headers["content-type"] == "text/x-own"
    assert response.headers["x-request-id"] == "id-7"


def test_the_handler_works_in_its_model_directory_and_sees_its_config(tmp_path: Path) -> None:
    source = (
        "import os\ndef handle(data, ctx):\n"
        "    own = ctx.model_yaml_config['handler']['own']\n"
        "    here = ctx.system_properties['model_dir'] == os.getcwd()\n"
        "    return data and [{'here': os.path.exists('handler.py'), 'own': own, 'dir': here} for _ in data]\n"
    )
    config = "minWorkers: 1\nmaxWorkers: 1\nhandler:\n  own: 7\n"
    with running_server(write_model(tmp_path / "m", source, config=config), cache=tmp_path / "cache") as server:
        assert server.predict("x").json() == {"here": True, "own": 7, "dir": True}


def test_killing_a_worker_under_load_costs_no_answer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO, config=TWO_WORKERS)
    with running_server(folder, cache=tmp_path / "cache") as server:
        load = Load(server)
        load.wait_for_answers(50)
        for _ in range(3):
            victim, *_ = server.workers()
            os.kill(victim, signal.SIGKILL)
            # A row that is there at two deaths is blamed for them: let those of this one be answered first.
            while victim in (ready := server.workers()) or len(ready) < 2:
                pass
            load.wait_for_answers(50)
        statuses = load.stop()
        assert set(statuses) == {"200"}, statuses


def test_killing_all_workers_at_once_costs_no_answer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO, config=TWO_WORKERS)
    with running_server(folder, cache=tmp_path / "cache") as server:
        load = Load(server)
        load.wait_for_answers(50)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        load.wait_for_answers(50)
        statuses = load.stop()
        assert set(statuses) == {"200"}, statuses
        metrics = server.client.get("/metrics").text
        assert 'archive_worker_restarts_total{model_name="m",model_version="1.0"} 2.0' in metrics


def test_killing_the_template_under_load_costs_no_answer_and_workers_can_still_be_replaced(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO, config=TWO_WORKERS)
    with running_server(folder, cache=tmp_path / "cache") as server:
        load = Load(server)
        load.wait_for_answers(50)
        os.kill(server.template(), signal.SIGKILL)
        load.wait_for_answers(50)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        load.wait_for_answers(50)
        statuses = load.stop()
        assert set(statuses) == {"200"}, statuses


def test_sigterm_under_load_answers_every_accepted_request_and_exits_0(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", SLOW, config=TWO_WORKERS)
    with running_server(folder, cache=tmp_path / "cache") as server, ThreadPoolExecutor(16) as pool:
        url = f"{server.url}/predictions/m"
        answers = [pool.submit(httpx.post, url, content=b"x", timeout=30) for _ in range(16)]
        while not _open_rows(server, 16):
            pass
        assert server.stop(signal.SIGTERM) == 0
        assert [answer.result().status_code for answer in answers] == [200] * 16


def test_ctrl_c_twice_answers_what_is_left_503_and_ends_at_once(tmp_path: Path) -> None:
    source = "import time\ndef handle(data, ctx):\n    if data: time.sleep(600)\n"
    folder = write_model(tmp_path / "m", source)
    with running_server(folder, cache=tmp_path / "cache") as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{server.url}/predictions/m", content=b"x", timeout=60)
        while not _open_rows(server, 1):
            pass
        server.process.send_signal(signal.SIGINT)
        while not any("finishing 1 requests" in line for line in server.log):
            pass
        assert server.stop(signal.SIGINT) == 0
        assert answer.result().status_code == 503


def test_a_hangup_without_a_terminal_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with running_server(write_model(tmp_path / "m", ECHO), cache=tmp_path / "cache") as server:
        server.process.send_signal(signal.SIGHUP)
        while not any("SIGHUP: nothing to read again" in line for line in server.log):
            assert server.process.poll() is None
        assert server.predict("x").text == "x"
        assert server.stop() == 0


def test_a_server_whose_terminal_is_closed_drains_and_ends(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with running_server(write_model(tmp_path / "m", ECHO), cache=tmp_path / "cache", stdin=theirs) as server:
        server.process.send_signal(signal.SIGHUP)
        assert server.process.wait(20) == 0
    for descriptor in (ours, theirs):
        os.close(descriptor)


def _open_rows(server: Server, count: int) -> bool:
    """Whether that many rows have been accepted and not answered."""
    line = f'archive_open_rows{{model_name="m",model_version="1.0"}} {count}.0'
    return line in server.client.get("/metrics").text


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO, config=TWO_WORKERS)
    with running_server(folder, cache=tmp_path / "cache") as server:
        pids = [server.template(), *server.workers()]
        assert server.stop() == 0
    for pid in pids:
        wait_until_gone(pid)


def test_workers_end_when_the_server_is_killed(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO, config=TWO_WORKERS)
    with running_server(folder, cache=tmp_path / "cache") as server:
        pids = [server.template(), *server.workers()]
        server.stop(signal.SIGKILL)
    for pid in pids:
        wait_until_gone(pid)


def test_two_servers_on_one_port_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO)
    with running_server(folder, cache=tmp_path / "cache") as server:
        port = server.url.rpartition(":")[2]
        result = archive_command("serve", "--port", port, str(folder), cache=tmp_path / "cache")
    assert result.returncode == 1
    assert f"error: 127.0.0.1:{port} is taken by another program" in result.stderr
    assert "--port 0" in result.stderr


def test_ten_thousand_requests_over_five_hundred_connections_are_all_answered(tmp_path: Path) -> None:
    config = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 64\njobQueueSize: 500\n"
    folder = write_model(tmp_path / "m", ECHO, config=config)
    with running_server(folder, cache=tmp_path / "cache") as server:
        statuses = asyncio.run(_flood(server, connections=500, each=20))
    assert statuses == {"200": 10_000}


async def _flood(server: Server, connections: int, each: int) -> Counter[str]:
    """Every connection writes all its requests at once (pipelined) and then reads the answers."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    request = b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"

    async def one_connection() -> Counter[str]:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request * each)
        data = b""
        while data.count(b"HTTP/1.1 ") < each or not data.endswith(b"x"):
            chunk = await reader.read(65536)
            assert chunk, "the server closed the connection"
            data += chunk
        writer.close()
        return Counter(part[:3].decode() for part in data.split(b"HTTP/1.1 ")[1:])

    counts = await asyncio.gather(*(one_connection() for _ in range(connections)))
    return sum(counts, Counter())


def test_a_client_that_left_while_waiting_is_not_sent_to_the_worker(tmp_path: Path) -> None:
    source = (
        "import os, time\nseen = []\ndef handle(data, ctx):\n    if data is None: return None\n"
        "    seen.extend(bytes(r['body']).decode() for r in data)\n"
        "    while not os.path.exists('go'): time.sleep(0.01)\n"
        "    return [','.join(seen)] * len(data)\n"
    )
    folder = write_model(tmp_path / "m", source)
    with running_server(folder, cache=tmp_path / "cache") as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{server.url}/predictions/m", content=b"first", timeout=30)
        while not _open_rows(server, 1):
            pass
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/predictions/m", content=b"left", timeout=0.5)
        while not _open_rows(server, 1):
            pass
        (folder / "go").touch()
        assert first.result().text == "first"
        assert server.predict(b"last").text == "first,last"


def test_a_worker_gains_no_rights_and_its_files_are_its_users_alone(tmp_path: Path) -> None:
    source = (
        "import os\ndef handle(data, ctx):\n    if data is None: return None\n"
        "    open('made', 'w').close()\n"
        "    held = [line.split()[1] for line in open('/proc/self/status') if line.startswith('NoNewPrivs')]\n"
        "    return [{'mode': oct(os.stat('made').st_mode & 0o777), 'no new privileges': held} for _ in data]\n"
    )
    with running_server(write_model(tmp_path / "m", source), cache=tmp_path / "cache") as server:
        assert server.predict("x").json() == {"mode": "0o600", "no new privileges": ["1"]}


def test_the_front_end_is_small_and_knows_no_torch(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO)
    with running_server(folder, cache=tmp_path / "cache") as server:
        server.predict("x")
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        resident = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert "libtorch" not in maps
    assert resident < 80_000_000


def test_flags_win_over_the_config_and_describe_says_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO, config="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\n")
    arguments = (folder, "--batch-size", "16", "--set", "responseTimeout=33")
    with running_server(*arguments, cache=tmp_path / "cache") as server:
        described = server.describe()
    origins = {setting["key"]: (setting["value"], setting["origin"]) for setting in described["settings"]}
    assert described["batchSize"] == 16
    assert origins["batchSize"] == (16, "flag")
    assert origins["responseTimeout"] == (33, "flag")
    assert origins["minWorkers"] == (1, "yaml")
    assert origins["jobQueueSize"][1] == "default"


def test_json_logs_are_one_object_a_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO)
    with running_server(folder, "--json-logs", cache=tmp_path / "cache") as server:
        server.stop()
        lines = [json.loads(line) for line in server.log]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert any("ready in" in line["message"] for line in lines)


def test_a_declared_gpu_is_a_stated_fallback_where_there_is_none(tmp_path: Path) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    folder = write_model(tmp_path / "m", ECHO, config="minWorkers: 1\nmaxWorkers: 1\ndeviceType: gpu\n")
    with running_server(folder, cache=tmp_path / "cache") as server:
        placement = server.describe()["placement"]
    assert placement["device"] == "cpu"
    assert "deviceType gpu is declared" in placement["fallback"]
