"""The command line is a table: command → where it lives, one line, section. Imports click and nothing else of ours.

A command's module is imported when the command is called, so `archive --help` costs no more than click, and
runner's commands are named as strings: nothing in archiver imports runner.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """`target` is "module:attribute" of a click command."""

    target: str
    summary: str
    section: str


COMMANDS: dict[str, Entry] = {
    "init": Entry("archiver.cli.init:init", "Start a project that creates, validates and serves.", "Build"),
    "create": Entry("archiver.cli.create:create", "Pack checkpoint, handler and config into an archive.", "Build"),
    "optimize": Entry(
        "runner.cli.optimize:optimize", "Pack weights and code in the form in which they are served.", "Build"
    ),
    "convert": Entry("runner.cli.convert:convert", "Turn pickled weights into safetensors.", "Build"),
    "workflow": Entry("archiver.cli.workflow:workflow", "Pack a workflow of several models.", "Build"),
    "validate": Entry("archiver.cli.validate:validate", "Check configs, projects and archives.", "Build"),
    "schema": Entry("archiver.cli.schema:schema", "Print a JSON Schema.", "Build"),
    "inspect": Entry("archiver.cli.inspect:inspect", "Show what is in an archive.", "Archives"),
    "verify": Entry("archiver.cli.verify:verify", "Check every hash of an archive, and its signature.", "Archives"),
    "sign": Entry("archiver.cli.sign:sign", "Sign an archive, in the format of OpenSSF Model Signing.", "Archives"),
    "scan": Entry("archiver.cli.scan:scan", "Find what runs code when an archive is opened.", "Archives"),
    "extract": Entry("archiver.cli.extract:extract", "Unpack an archive safely.", "Archives"),
    "diff": Entry("archiver.cli.diff:diff", "Compare two archives.", "Archives"),
    "cache": Entry("archiver.cli.cache:cache", "Show and prune the unpacked archives.", "Archives"),
    "serve": Entry("runner.cli.serve:serve", "Serve archives with batching workers.", "Serve"),
    "torchserve": Entry(
        "runner.cli.torchserve:torchserve", "TorchServe's command line, for scripts that start it.", "Serve"
    ),
    "predict": Entry("runner.cli.predict:predict", "Send a file to a running server.", "Serve"),
    "profile": Entry(
        "runner.cli.profile:profile", "Show where a batch's time goes, and what would change it.", "Serve"
    ),
    "bench": Entry("runner.cli.bench:bench", "Measure a model under load.", "Serve"),
    "tune": Entry("runner.cli.tune:tune", "Find the best configuration under a latency limit.", "Serve"),
    "run": Entry("runner.cli.run:run", "Run one request in this process, no server.", "Serve"),
}


class LazyGroup(click.Group):
    """A group that reads `COMMANDS` and imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else " `archive --help` lists the commands."
            raise click.UsageError(f"No such command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, entry.summary) for name, entry in COMMANDS.items() if entry.section == section]
                )

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; our own errors are printed and become exit codes in `console.guard`."""
        from archiver.cli import console

        with console.guard():
            return super().main(*args, **kwargs)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from archiver import __version__

    click.echo(f"archive {__version__}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def main() -> None:
    """Pack PyTorch models into archives, check them and serve them.

    Exit codes: 0 fine, 1 what was checked or run failed, 2 usage.
    """
