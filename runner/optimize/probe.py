"""A package from elsewhere is tried by a child process first: code for another processor kills, it does not raise.

The child runs the package on the sample that was packed with it and compares the answers. It is forked before this
process has computed anything: a fork after torch's threads have run may hang (libgomp keeps locks of threads that
the child does not have).
"""

from __future__ import annotations

import os
import select
import signal
import warnings
from pathlib import Path

import torch

from runner.optimize.edge import Call
from runner.optimize.package import load, read_sample
from runner.optimize.verify import compare

_SECONDS = 30.0
#: Same code, same inputs; other processors round differently.
_LEAST_COSINE = 0.999


def probe(folder: Path, device: torch.device) -> str | None:
    """Why the package cannot be used here; None when it can. GPUs report code that is not theirs: no probe."""
    if device.type != "cpu":
        return None
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and up warn of forks beside threads; the child runs native code and ends without Python's exit.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(read_end)
        _try(folder, device, write_end)
    os.close(write_end)
    try:
        return _verdict(child, read_end)
    finally:
        os.close(read_end)


def _verdict(child: int, said: int) -> str | None:
    if not select.select([said], [], [], _SECONDS)[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return f"it did not answer its sample within {_SECONDS:g} s"
    text = os.read(said, 4096).decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        return f"running it killed the process that tried ({signal.Signals(-status).name})"
    return text or None


def _try(folder: Path, device: torch.device, say: int) -> None:
    """In the child. Never returns."""
    try:
        problem = _compared(folder, device)
    except BaseException as error:  # noqa: BLE001  whatever it is, the parent gets to hear of it
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        os.write(say, problem[:4000].encode())
    os._exit(0)


def _compared(folder: Path, device: torch.device) -> str | None:
    sample = read_sample(folder)
    with torch.no_grad():
        answer = load(folder, sample, device)(*sample.inputs[0])
    verdict = compare([sample], [Call(sample.inputs, answer, 0.0)])
    if verdict.problem is not None or verdict.cosine < _LEAST_COSINE:
        return f"its answers to its own sample are others: {verdict.problem or f'cosine {verdict.cosine:.5f}'}"
    return None
