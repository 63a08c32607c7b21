"""What worker processes give up before any code of a model runs: in the template, so that its forks inherit it."""

from __future__ import annotations

import ctypes
import os
import sys

#: Files that a model makes are its user's alone.
_UMASK = 0o077
#: From linux/prctl.h.
_PR_SET_NO_NEW_PRIVS = 38


def give_up() -> None:
    """No more rights through programs that this process or its children run (setuid, file capabilities; Linux only),
    and files that nobody else reads. Raises OSError where the kernel refuses."""
    os.umask(_UMASK)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
