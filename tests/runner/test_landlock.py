"""Landlock by its system calls: what is asked of a kernel of each version, and that a real one holds a process."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.errors import ServeFailed
from runner.landlock import FILL, OWN, READ, USE_DEVICE, Access, require, restrict, version
from runner.worker.privileges import give_up

offered = pytest.mark.skipif(version() == 0, reason="this kernel offers no Landlock")


def kernel(offers: int, asked: list[tuple[int, bytes]]) -> Callable[..., int]:
    """A kernel of that version, which keeps the structures that it is given."""

    def call(number: int, *arguments: object) -> int:
        if number == 444 and arguments[0] is None:
            return offers
        asked.extend((number, argument) for argument in arguments if isinstance(argument, bytes))
        return os.open(os.devnull, os.O_RDONLY) if number == 444 else 0

    return call


def refusing(code: int) -> Callable[..., int]:
    def call(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_kernel_without_it_is_not_served_on(code: int) -> None:
    assert version(refusing(code)) == 0
    with pytest.raises(ServeFailed, match="this kernel offers no Landlock"):
        require(refusing(code))


def test_a_kernel_that_answers_otherwise_is_not_taken_for_one_without_it() -> None:
    with pytest.raises(PermissionError):
        version(refusing(errno.EPERM))


@pytest.mark.parametrize(
    ("offers", "files", "tcp", "scopes"),
    [(1, 13, 0, 0), (2, 14, 0, 0), (3, 15, 0, 0), (4, 15, 3, 0), (5, 16, 3, 0), (6, 16, 3, 3), (9, 16, 3, 3)],
)
def test_each_version_is_asked_for_all_that_it_knows(offers: int, files: int, tcp: int, scopes: int) -> None:
    asked: list[tuple[int, bytes]] = []
    held = restrict([], kernel(offers, asked))
    assert asked == [(444, struct.pack("=QQQ", (1 << files) - 1, tcp, scopes))]
    assert ("TCP" in held.words, "signals" in held.words) == (bool(tcp), bool(scopes))


def test_a_rule_never_asks_for_what_the_version_does_not_know_or_a_file_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    asked: list[tuple[int, bytes]] = []
    restrict([(OWN | Access.IOCTL_DEV, [tmp_path, tmp_path / "file", tmp_path / "none"])], kernel(2, asked))
    folder, file = (struct.unpack("=Qi", rule)[0] for number, rule in asked if number == 445)
    assert Access(folder) == OWN & ~(Access.TRUNCATE | Access.IOCTL_DEV)
    assert Access(file) == Access.EXECUTE | Access.READ_FILE | Access.WRITE_FILE


def in_a_process(what: Callable[[], None]) -> int:
    """Run it in a fork; 0 when it did not raise, else the errno or 255."""
    pid = os.fork()
    if pid == 0:
        status = 0
        try:
            what()
        except OSError as error:
            status = error.errno or 255
        except BaseException:
            status = 255
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@offered
@pytest.mark.parametrize(
    ("act", "answer"),
    [
        (lambda at: (at / "read/file").read_text(), 0),
        (lambda at: (at / "read/file").write_text("x"), errno.EACCES),
        (lambda at: (at / "other/file").read_text(), errno.EACCES),
        (lambda at: (at / "read/../other/file").read_text(), errno.EACCES),
        (lambda at: (at / "read/link").read_text(), errno.EACCES),
        (lambda at: os.link(at / "other/file", at / "fill/stolen"), errno.EXDEV),
        (lambda at: (at / "fill/new").write_text("x"), 0),
        (lambda at: (at / "fill/link").symlink_to("/"), errno.EACCES),
        (lambda at: os.mkfifo(at / "fill/pipe"), errno.EACCES),
        (lambda at: (at / "own/link").symlink_to("/"), 0),
        (lambda _: Path(os.devnull).write_text("x"), 0),
    ],
)
def test_a_process_does_what_its_rules_say(tmp_path: Path, act: Callable[[Path], object], answer: int) -> None:
    for name in ("read", "other", "fill", "own"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "read" / "link").symlink_to("../other/file")

    def held() -> None:
        give_up()
        rules = [(READ, [tmp_path / "read"]), (FILL, [tmp_path / "fill"]), (OWN, [tmp_path / "own"])]
        restrict([*rules, (USE_DEVICE, [Path(os.devnull)])])
        act(tmp_path)

    assert in_a_process(held) == answer


@offered
def test_who_holds_nothing_still_cannot_be_reached_by_ptrace(tmp_path: Path) -> None:
    parent = os.getpid()

    def held() -> None:
        give_up()
        restrict([(READ, [Path("/proc")])])
        if ctypes.CDLL(None, use_errno=True).ptrace(16, parent, None, None):  # PTRACE_ATTACH
            raise OSError(ctypes.get_errno(), "ptrace")

    assert in_a_process(held) == errno.EPERM
