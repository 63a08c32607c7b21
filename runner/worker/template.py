"""The template process: imports torch once, never runs an operator, forks workers on request.

A fork after a parallel operator hangs (libgomp's threads do not survive it), and CUDA must not be initialised
before a fork; so this process imports and waits, nothing else. Started as

    python -m runner.worker.template CONTROL_FD [MODULE ...]

it speaks JSON lines over a Unix socket: `hello` once it has imported, `fork` requests that carry the worker's
socket and output pipe as descriptors, `forked` and `exited` in return. When the front end goes, it goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from runner.worker import privileges

if TYPE_CHECKING:
    from runner.worker.ranks import Follower

_STDOUT, _STDERR = 1, 2
#: Linux's prctl: a signal for the parent's death; orphans are mine to reap.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


def _import_all(modules: list[str]) -> dict[str, str]:
    """Import each; module → reason for those that cannot be."""
    failed: dict[str, str] = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  whatever a foreign module raises while importing is the report
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def _accelerators() -> dict[str, Any]:
    """Counted without creating a CUDA context (NVML), which a fork would not survive."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    mps = getattr(torch.backends, "mps", None)
    return {
        "torch": torch.__version__,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": bool(mps and mps.is_available()),
    }


def _become_worker(control: socket.socket, wakeup: tuple[int, int], fds: list[int], processes: int) -> NoReturn:
    """In the child: keep the worker's socket and output pipe, drop what is the template's, and run, as the first of
    `processes`."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    control.close()
    for fd in wakeup:
        os.close(fd)
    worker_fd, output_fd = fds
    os.dup2(output_fd, _STDOUT)
    os.dup2(output_fd, _STDERR)
    os.close(output_fd)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file here, never a test's stand-in
    from runner.worker.main import work

    status = 1
    try:
        status = work(*_spread(worker_fd, processes))
    except BaseException:  # noqa: BLE001  the process ends here; its last words go to the log
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # No interpreter shutdown: threads of user code and of torch may never end.
    os._exit(status)


def _spread(fd: int, processes: int) -> tuple[int, list[Follower]]:
    """Fork the worker's other processes. Returns twice and more: in each the socket that it serves; in the first the
    others, too."""
    from runner.worker.ranks import Follower

    parent, followers = os.getpid(), list[Follower]()
    for rank in range(1, processes):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            _end_with(parent)
            os.close(fd)
            for sock in (ours, *(follower.sock for follower in followers)):
                sock.close()
            return theirs.detach(), []
        theirs.close()
        followers.append(Follower(rank, pid, ours))
    return fd, followers


def _end_with(parent: int) -> None:
    """End when the parent does, even in code that never lets go of the interpreter."""
    _tell_kernel(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _tell_kernel(option: int, value: int) -> None:
    # Elsewhere there is no such call: the socket's end is then all that tells a process of its parent's.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(control, {"event": "exited", "pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _fork(control: socket.socket, wakeup: tuple[int, int], line: bytes, fds: list[int]) -> None:
    request = json.loads(line)
    pid = os.fork()
    if pid == 0:
        _become_worker(control, wakeup, fds, request["processes"])
    for fd in fds:
        os.close(fd)
    _send(control, {"event": "forked", "id": request["fork"], "pid": pid})


def _serve(control: socket.socket) -> None:
    """Answer fork requests and report exits until the front end closes its end."""
    read_end, write_end = os.pipe()
    for fd in (read_end, write_end):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        ready.register(read_end, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fd == read_end:
                    os.read(read_end, 4096)
                    _reap(control)
                    continue
                # One request is one small message, written at once and answered before the next.
                line, fds, _, _ = socket.recv_fds(control, 4096, 2)
                if not line:
                    return
                _fork(control, (read_end, write_end), line, list(fds))


def main(argv: list[str]) -> None:
    control = socket.socket(fileno=int(argv[0]))
    # Ctrl-C in the terminal is the front end's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    privileges.give_up()
    # A worker that dies leaves its other processes, which nobody may reap where this runs under no real init.
    _tell_kernel(_PR_SET_CHILD_SUBREAPER, 1)
    failed = _import_all(["torch", "runner.worker.main", *argv[1:]])
    # A broken pipe means that the front end is gone: so are we.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if "torch" in failed or "runner.worker.main" in failed:
            _send(control, {"event": "broken", "reasons": failed})
            return
        _send(control, {"event": "hello", "failed": failed, **_accelerators()})
        _serve(control)


if __name__ == "__main__":
    main(sys.argv[1:])
