"""A profile's files in a folder."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import to_builtins

from runner.bench.files import write_texts
from runner.profile.render.page import page
from runner.profile.render.text import text
from runner.profile.report import Profile
from runner.profile.run import TRACE


def write(report: Profile, made: Path, folder: Path) -> list[Path]:
    """The figures first, the trace (the largest) last: it comes from the folder `made`. Raises CannotWrite."""
    texts = {
        "profile.json": json.dumps(to_builtins(report), indent=2, ensure_ascii=False) + "\n",
        "profile.html": page(report),
        "profile.txt": text(report) + "\n",
        TRACE: (made / TRACE).read_text("utf-8"),
    }
    return write_texts(texts, folder, "-o DIR")
