"""What worker processes give up before any code of a model runs: in the template, so that its forks inherit it, and
in a sandbox."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

#: Files that a model makes are its user's alone.
_UMASK = 0o077
#: From linux/prctl.h.
_PR_SET_NO_NEW_PRIVS = 38
#: From linux/capability.h: version 3, two words of 32 bits for each set.
_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_OVERRIDE = 1 << 1


def give_up() -> None:
    """No more rights through programs that this process or its children run (setuid, file capabilities; Linux only),
    and files that nobody else reads. Raises OSError where the kernel refuses."""
    os.umask(_UMASK)
    if sys.platform == "linux":
        _ask(ctypes.CDLL(None, use_errno=True).prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> None:
    """Be root by name alone: without them root cannot look into other processes, which Landlock lets it. What is left
    is reading files of other users, where a sandbox lets it. Linux. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    _ask(libc.capget, header, held)
    permitted = struct.unpack("=6I", held.raw)[1] & _CAP_DAC_OVERRIDE
    _ask(libc.capset, header, struct.pack("=6I", permitted, permitted, 0, 0, 0, 0))


def _ask(call: ctypes._NamedFuncPointer, *arguments: object) -> None:
    if call(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{call.__name__}: {os.strerror(code)}")
