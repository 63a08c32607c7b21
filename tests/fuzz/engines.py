"""What drives a target: atheris where it is installed (Linux, guided by coverage), else hypothesis.

Each runs in a process of its own, as `python -m tests.fuzz.engines ENGINE TARGET SECONDS FOLDER`: atheris ends its
process, and an input that eats all memory or never ends must not end the others. Both say how many inputs they tried
as libFuzzer does. FOLDER gets what the engine finds worth keeping, and `crash-…`, the input that broke the target.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from hashlib import sha1
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import targets

#: How both say how many inputs they tried.
TRIED = "stat::number_of_executed_units:"
_OPTIONS = {"max_len": 8192, "timeout": 10, "rss_limit_mb": 4096, "print_final_stats": 1}
_INSTRUMENTED = ("archiver", "runner", "yaml", "python_multipart", "starlette", "uvicorn", "tarfile", "gzip")
_ROUND = settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
#: Where, how many bytes go, and what comes there.
_Edit = tuple[int, int, bytes]


def best() -> str:
    """The engine that is there."""
    return "atheris" if importlib.util.find_spec("atheris") else "hypothesis"


def atheris(name: str, seconds: float, folder: Path) -> None:
    """Inputs that reach new code are kept and changed further. It ends the process, with 0 when the time is over."""
    import atheris  # an extra; not on every Python

    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        one = targets.load(name)
    grown = folder / "grown"
    grown.mkdir(parents=True, exist_ok=True)
    options = {**_OPTIONS, "max_total_time": int(seconds), "artifact_prefix": f"{folder}/"}
    arguments = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup([name, *arguments, str(grown), str(targets.CORPUS / name)], one)
    atheris.Fuzz()


def hypothesis(name: str, seconds: float, folder: Path) -> None:
    """Rounds of inputs from nowhere, and of edited ones of the corpus, until the time is over."""
    one, until, tried = targets.load(name), time.monotonic() + seconds, 0
    folder.mkdir(parents=True, exist_ok=True)

    @_ROUND
    @given(inputs(name))
    def round_(data: bytes) -> None:
        nonlocal tried
        tried += 1
        if time.monotonic() < until:
            _try(one, data, folder)

    while time.monotonic() < until:
        round_()
    sys.stderr.write(f"{TRIED} {tried}\n")


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """What hypothesis tries of a target."""
    edit = st.tuples(st.integers(0, 1 << 12), st.integers(0, 32), st.binary(max_size=8))
    kept = st.sampled_from([path.read_bytes() for path in targets.corpus(name)])
    return st.binary(max_size=_OPTIONS["max_len"]) | st.builds(_edited, kept, st.lists(edit, max_size=8))


def _edited(data: bytes, edits: list[_Edit]) -> bytes:
    for place, gone, come in edits:
        at = place % (len(data) + 1)
        data = data[:at] + come + data[at + gone :]
    return data


def _try(one: targets.Target, data: bytes, folder: Path) -> None:
    try:
        one(data)
    except BaseException:
        # Hypothesis makes it smaller; the last one is the smallest.
        for larger in folder.glob("crash-*"):
            larger.unlink()
        (folder / f"crash-{sha1(data, usedforsecurity=False).hexdigest()}").write_bytes(data)
        raise


if __name__ == "__main__":
    _, engine, target, limit, where = sys.argv
    {"atheris": atheris, "hypothesis": hypothesis}[engine](target, float(limit), Path(where))
