"""Landlock, by its system calls: files, TCP and signals that a process gives up for good, with all that it starts.

What is not listed is refused. A kernel that offers less than the newest version holds a process less:

    1  files                            Linux 5.13
    2  links between folders            5.19    (in version 1 there are none)
    3  cutting files short              6.2
    4  TCP: binding and connecting      6.7
    5  device calls (ioctl)             6.10
    6  signals, abstract Unix sockets   6.12

The numbers are those of linux/landlock.h; the rules those of https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

from archiver.errors import ServeFailed

#: A system call: its number and arguments → what it returns. Raises OSError.
Call = Callable[..., int]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1


class Access(IntFlag):
    """What may be done with files below a path."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Access.READ_FILE | Access.READ_DIR | Access.EXECUTE
#: Files and folders, nothing that could mislead whoever reads them later.
FILL = READ | (
    Access.WRITE_FILE
    | Access.TRUNCATE
    | Access.REFER
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
)
OWN = FILL | Access.MAKE_SYM | Access.MAKE_FIFO | Access.MAKE_SOCK
USE_DEVICE = Access.READ_FILE | Access.READ_DIR | Access.WRITE_FILE | Access.IOCTL_DEV

_OF_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
#: Version from which on the kernel knows it.
_SINCE = {Access.REFER: 2, Access.TRUNCATE: 3, Access.IOCTL_DEV: 5}
_TCP, _TCP_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6


@dataclass(frozen=True, slots=True)
class Held:
    """What the kernel holds the process to by now."""

    version: int

    @property
    def words(self) -> str:
        """For people: what it covers."""
        covered = ["files"]
        if self.version >= _TCP_SINCE:
            covered.append("TCP")
        if self.version >= _SCOPES_SINCE:
            covered.append("signals")
        return f"Landlock {self.version}: {', '.join(covered)}"


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def version(call: Call = _call) -> int:
    """The version that the kernel offers; 0 for none: too old, built without it, or not among `lsm=`."""
    if sys.platform != "linux":
        return 0
    try:
        return call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def require(call: Call = _call) -> None:
    """Raises ServeFailed where there is none."""
    if not version(call):
        raise ServeFailed(
            "--sandbox: this kernel offers no Landlock",
            hint="Linux 5.13 or later with landlock among its `lsm=`; without --sandbox the workers are not held",
        )


def restrict(rules: Iterable[tuple[Access, Sequence[Path]]], call: Call = _call) -> Held:
    """Give up everything but the rules, in this thread and in what it starts from now on: a process calls it while
    it has one thread. Paths that are not there are left out. Needs no_new_privs. Raises OSError."""
    offered = version(call)
    known = _known(offered)
    scopes = _SCOPES if offered >= _SCOPES_SINCE else 0
    handled = struct.pack("=QQQ", known, _TCP if offered >= _TCP_SINCE else 0, scopes)
    ruleset = call(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0))
    try:
        for access, paths in rules:
            for path in paths:
                _allow(ruleset, access & known, path, call)
        call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return Held(offered)


def _known(offered: int) -> Access:
    return Access(sum(access for access in Access if _SINCE.get(access, 1) <= offered))


def _allow(ruleset: int, access: Access, path: Path, call: Call) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _OF_FILES
        rule = struct.pack("=Qi", access, place)
        call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(place)
