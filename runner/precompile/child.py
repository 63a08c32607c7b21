"""The process that compiles: `python -m runner.precompile.child RESULT`, with the order to load on stdin.

It does what a worker does, for the session takes its process over. What it found goes to the file RESULT as JSON;
what the model prints is the caller's to keep.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from runner import wire
from runner.worker.session import LoadError, Session


def main() -> None:
    result = Path(sys.argv[1])
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=wire.Load)
    try:
        found = {"report": Session(load).open()}
    except LoadError as error:
        found = {"failed": {"kind": error.kind, "message": error.message, "trace": error.trace}}
    result.write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
