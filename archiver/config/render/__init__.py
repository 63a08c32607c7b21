"""Findings as text, JSON, GitHub annotations, SARIF and JUnit. Finding and rendering never meet elsewhere."""

from __future__ import annotations

import importlib

from archiver.config.render.verdict import Verdict

#: The values of `--format`: each is a module here with `render(verdict) -> str`.
FORMATS = ("text", "json", "github", "sarif", "junit")


def render(format_: str, verdict: Verdict) -> str:
    """The verdict in one of `FORMATS`, without a line feed at the end; only that format's module is imported."""
    module = importlib.import_module(f"archiver.config.render.{format_}")
    text: str = module.render(verdict)
    return text
