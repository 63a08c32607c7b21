"""What a worker gives up first, in forks of this process."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runner import wire
from runner.worker.confinement import Confined, TooLittleMemory, confine
from runner.worker.privileges import drop_capabilities


def load(**confinement: object) -> wire.Load:
    plain = {**dict.fromkeys(("model_name", "model_version", "model_dir", "device"), "m"), "threads": 1, "cpus": None}
    return msgspec.convert(
        {
            "type": "load",
            **plain,
            "manifest": {},
            "config": {},
            "trusted": False,
            "confinement": [*confinement.values()],
        },
        wire.Load,
    )


def order(memory: int = 0, files: int = 0, sandbox: bool = False) -> wire.Load:
    return load(memory=memory, files=files, sandbox=sandbox)


def in_a_fork(say: Callable[[], str]) -> str:
    """What it returns in a fork of this process, or what it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = say()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


def test_nothing_is_given_up_unless_it_is_asked_for() -> None:
    assert confine(order()) == Confined()
    assert Confined().report()["lines"] == []


def test_descriptors_beyond_the_limit_cannot_be_opened() -> None:
    def opens() -> str:
        confine(order(files=64))
        return f"{[os.open(os.devnull, os.O_RDONLY) for _ in range(64)]}"

    assert in_a_fork(opens).startswith("OSError: [Errno 24]")


def test_memory_beyond_the_limit_cannot_be_had() -> None:
    def takes() -> str:
        limit = 1 << 33
        confined = confine(order(memory=limit))
        assert resource.getrlimit(resource.RLIMIT_DATA) == (limit, limit) and confined.memory == limit
        return f"{len(bytearray(limit))}"

    assert in_a_fork(takes).startswith("MemoryError")


def test_a_limit_that_leaves_nothing_for_a_model_is_told() -> None:
    with pytest.raises(TooLittleMemory, match="--worker-memory is 0.001 GB, but a worker has"):
        confine(order(memory=1_000_000))


def test_the_report_says_what_holds() -> None:
    report = Confined(1_500_000_000, 64, "Landlock 4: files, TCP", "/tmp/a").report()
    assert report.pop("lines") == [
        "each worker is held to 1.5 GB of memory, 64 descriptors, sandbox (Landlock 4: files, TCP)"
    ]
    assert report == {
        "memory": 1_500_000_000,
        "files": 64,
        "sandbox": "Landlock 4: files, TCP",
        "temporary": "/tmp/a",
    }


def test_root_is_left_with_reading_files() -> None:
    def held() -> str:
        drop_capabilities()
        status = Path("/proc/self/status").read_text()
        sets = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm"))]
        return f"{all(int(each, 16) & ~2 == 0 for each in sets)}"

    assert in_a_fork(held) == "True"
