"""Real servers for tests: a process, a port, signals. Nothing waits by sleeping: we read lines, bodies, exits."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

_START_LIMIT = 120.0
_STOP_LIMIT = 40.0


def write_model(
    folder: Path, handler: str, *, name: str = "m", version: str = "1.0", config: str = "", **files: str | bytes
) -> Path:
    """An unpacked archive with this handler source: what `--archive-format no-archive` makes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(handler)
    (folder / "model-config.yaml").write_text(config or "minWorkers: 1\nmaxWorkers: 1\n")
    for file, content in files.items():
        path = folder / file.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    model = {
        "modelName": name,
        "modelVersion": version,
        "handler": "handler.py",
        "configFile": "model-config.yaml",
    }
    manifest = {"createdOn": "01/01/2024 00:00:00", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    (folder / "MAR-INF").mkdir(exist_ok=True)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


def make_certificate(folder: Path, name: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signs itself, for that name, and its key: PEM files."""
    file, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-keyout", str(key), "-out", str(file), "-days", "2", "-subj", "/CN=test"]
    subprocess.run([*command, *names, "-addext", f"subjectAltName={name}"], check=True, capture_output=True)
    return file, key


def environment(cache: Path | None = None) -> dict[str, str]:
    """The test's environment, with the checkout importable and a cache of the test's own."""
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    extra = {"TORCH_ARCHIVE_CACHE": str(cache)} if cache else {}
    return {**os.environ, "PYTHONPATH": paths, "NO_COLOR": "1", **extra}


def archive_command(*arguments: str, cache: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the `archive` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "archiver", *arguments],
        env=environment(cache),
        capture_output=True,
        text=True,
        timeout=_START_LIMIT,
        **options,
    )


class Server:
    """A running `archive serve`.

    `wrapper`: a command that runs it; `variables`: more of its environment; `stdin`: a descriptor.
    """

    def __init__(
        self,
        arguments: list[str],
        cache: Path,
        port: int | None,
        wrapper: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        stdin: int | None = None,
    ) -> None:
        ports = [] if port is None else ["--port", str(port)]
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "archiver", "serve", *ports, *arguments],
            env={**environment(cache), **(variables or {})},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.said: list[str] = []
        self.log: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read_out, daemon=True),
            threading.Thread(target=self._read_err, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self.url = self._wait_until_ready()
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def _wait_until_ready(self) -> str:
        line = self._lines.get(timeout=_START_LIMIT)
        if line is None:
            self.process.wait(_STOP_LIMIT)
            raise AssertionError("the server ended before it was ready:\n" + "\n".join(self.log))
        word, url, *_ = line.split()
        assert word == "ready", line
        return "/".join(url.split("/")[:3])

    @property
    def grpc(self) -> str:
        """The gRPC address. It is told after the line that says READY, by a thread of ours."""
        while not (told := [line for line in self.said if line.startswith("grpc")]):
            assert self.process.poll() is None
        return told[0].split()[1]

    def predict(self, body: bytes | str | Any, *, model: str = "m", **headers: str) -> httpx.Response:
        """POST a body: bytes and str as they are, anything else as JSON."""
        path = f"/predictions/{model}"
        if isinstance(body, bytes):
            return self.client.post(path, content=body, headers=headers)
        if isinstance(body, str):
            return self.client.post(path, content=body, headers={"content-type": "text/plain", **headers})
        return self.client.post(path, json=body, headers=headers)

    def describe(self, model: str = "m") -> dict[str, Any]:
        described: dict[str, Any] = self.client.get(f"/models/{model}").json()[0]
        return described

    def workers(self, model: str = "m") -> list[int]:
        """Pids of the READY workers."""
        return [w["pid"] for w in self.describe(model)["workers"] if w["status"] == "READY"]

    def template(self) -> int:
        """Pid of the template process: the server's only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the server and wait for its end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(_STOP_LIMIT)
        for reader in self._readers:
            reader.join(_STOP_LIMIT)
        return code

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_STOP_LIMIT)
        for reader in self._readers:
            reader.join(_STOP_LIMIT)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def wait_until_gone(pid: int) -> None:
    """Until the process has ended, reaped or not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor)
    assert poll.poll(20_000), f"process {pid} is still there"
    os.close(descriptor)


@contextmanager
def running_server(
    *arguments: str | Path,
    cache: Path,
    port: int | None = 0,
    wrapper: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    stdin: int | None = None,
) -> Iterator[Server]:
    """`archive serve --port 0 ARGUMENTS`, READY; ended when the block ends. No port: what the arguments say."""
    server = Server([str(argument) for argument in arguments], cache, port, wrapper, variables, stdin)
    try:
        yield server
    finally:
        server.close()
