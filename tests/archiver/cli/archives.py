"""The command line as a test calls it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from archiver.cli import main


def archive(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
