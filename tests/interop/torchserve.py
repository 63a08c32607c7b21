"""The real TorchServe and torch-model-archiver, from the folder of programs that TORCHSERVE_BIN names."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.projects import command
from tests.e2e.servers import running_server

#: inference, management, metrics, gRPC inference, gRPC management
PORTS = 5
#: Seconds that a person would wait; TorchServe on a busy machine needs a few.
START_LIMIT = 120.0


@dataclass(frozen=True)
class TorchServe:
    """`bin` is the folder of a virtual environment that holds both programs."""

    bin: Path

    def environment(self, folder: Path) -> dict[str, str]:
        """Its own packages only: nothing of this checkout may help it along. Its pid file and sockets have fixed
        names in the folder for temporary files; one of its own keeps it apart from another TorchServe."""
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        places = dict.fromkeys(("TMPDIR", "TEMP"), str(folder))
        return {**os.environ, **places, "PATH": path, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}

    def archiver(self, *arguments: str, folder: Path) -> None:
        """`torch-model-archiver …` in the folder."""
        command([str(self.bin / "torch-model-archiver"), *arguments], folder, self.environment(folder))

    def store(self, folder: Path, **handlers: str) -> Path:
        """A model store with an archive for each name and handler source, version 1.0."""
        store = folder / "store"
        store.mkdir()
        for name, source in handlers.items():
            (folder / f"{name}_handler.py").write_text(source)
            flags = ["--model-name", name, "--version", "1.0", "--handler", f"{name}_handler.py"]
            self.archiver(*flags, "--export-path", str(store), folder=folder)
        return store

    def workflow_archiver(self, *arguments: str, folder: Path) -> None:
        """`torch-workflow-archiver …` in the folder."""
        command([str(self.bin / "torch-workflow-archiver"), *arguments], folder, self.environment(folder))

    @contextmanager
    def serving(
        self, store: Path, models: list[str], folder: Path, more: str = "", *, leaves_traces: bool = False
    ) -> Iterator[list[int]]:
        """A server with these files of the store, under their stems; yields its ports, inference first. One that
        leaves traces keeps snapshots and checks keys, as TorchServe does by default."""
        ports = free_ports(PORTS)
        (folder / "config.properties").write_text(properties(ports) + more)
        named = [f"{name.partition('.')[0]}={name}" for name in models]
        words = [str(self.bin / "torchserve"), "--start", "--foreground"]
        words += [] if leaves_traces else ["--ncs", "--disable-token-auth"]
        words += ["--ts-config", "config.properties", "--model-store", str(store), "--models", *named]
        with (folder / "torchserve.log").open("wb") as log:
            # Its launcher leaves Java running when it is stopped, hence the process group.
            environment = self.environment(folder)
            server = subprocess.Popen(
                words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until_healthy(server, ports[0], folder)
            yield ports
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@contextmanager
def both_serving(
    torchserve: TorchServe, store: Path, names: Iterable[str], folder: Path, more: str
) -> Iterator[tuple[list[int], list[int]]]:
    """The real one and ours, each with these archives of the store and this config; their ports."""
    (folder / "ours.properties").write_text(properties(ports := free_ports(PORTS)) + more)
    named = ",".join(f"{name}={name}.mar" for name in names)
    options = ["--ts-config", folder / "ours.properties", "--model-store", store, "--models", named]
    with (
        torchserve.serving(store, [f"{name}.mar" for name in names], folder, more) as theirs,
        running_server(*options, cache=folder / "cache", port=None),
    ):
        yield theirs, ports


def installed() -> TorchServe:
    """What TORCHSERVE_BIN names; skips the test when it or Java is missing."""
    folder = os.environ.get("TORCHSERVE_BIN")
    if not folder:
        pytest.skip("TORCHSERVE_BIN does not name a folder with torchserve; `make test-interop` sets it up")
    if shutil.which("java") is None:
        pytest.skip("TorchServe needs Java, which is not on this machine")
    return TorchServe(Path(folder).absolute())


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def properties(ports: list[int]) -> str:
    inference, management, metrics, grpc_inference, grpc_management = ports
    return (
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        "grpc_inference_address=127.0.0.1\n"
        "grpc_management_address=127.0.0.1\n"
        f"grpc_inference_port={grpc_inference}\n"
        f"grpc_management_port={grpc_management}\n"
    )


def wait_until_healthy(server: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    """TorchServe has no ready line that can be read safely; it says so at /ping. A model is there before it."""
    waited = 0.0
    while not healthy(port, folder / "key_file.json"):
        assert server.poll() is None and waited < START_LIMIT, (folder / "torchserve.log").read_text()
        waited += 0.2
        try:
            server.wait(0.2)
        except subprocess.TimeoutExpired:
            continue


def wait_for_worker(url: str) -> None:
    """Until the one worker of a model is READY, by its description at `url`; TorchServe is healthy before it is."""
    deadline = time.monotonic() + START_LIMIT
    while [each["status"] for each in httpx.get(url, timeout=60).json()[0]["workers"]] != ["READY"]:
        assert time.monotonic() < deadline, url
        time.sleep(0.2)


def healthy(port: int, keys: Path) -> bool:
    """`keys`: its key file, which is there where it checks keys; at first it is empty."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        key = json.loads(keys.read_text())["inference"]["key"] if keys.exists() else ""
        connection.request("GET", "/ping", headers={"Authorization": f"Bearer {key}"})
        return b"Healthy" in connection.getresponse().read()
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return False
    finally:
        connection.close()
