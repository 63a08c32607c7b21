"""`archive optimize`: an archive → the same model in the form in which it is served, and what that brings."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli import console
from archiver.errors import UsageError
from archiver.pack import refuse_existing
from runner.cli.overrides import overrides


@click.command()
@click.argument("archive", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The new archive; default: NAME-optimised.mar.")
@click.option("--dry-run", is_flag=True, help="Measure and print; write nothing.")
@click.option("--device", help="cpu, cuda or mps; default: what the config declares.")
@click.option(
    "--precompile",
    "devices",
    multiple=True,
    type=click.Choice(["cpu", "cuda", "none"]),
    help="Pack code compiled for DEVICE; default: this one, where the config declares pt2.compile.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting over the archive's config.")
@click.option("-f", "--force", is_flag=True, help="Replace an archive that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def optimize(
    archive: Path,
    output: Path | None,
    dry_run: bool,
    device: str | None,
    devices: tuple[str, ...],
    settings: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Write an archive whose weights and code are in the form in which they are served.

    Loads the model as it is, as its config declares and as the new archive has it; prints what each takes, how
    fast it is and how close its answers are. The original is never touched. Nothing is written when the new
    archive's answers are further from the original's than `verify` allows.
    """
    target = output or archive.with_name(f"{archive.name.partition('.')[0]}-optimised.mar")
    if target.exists() and target.resolve() == archive.resolve():
        raise UsageError("the original is never replaced", hint="name another file: -o FILE")
    if not dry_run:
        refuse_existing(target, force=force)
    from runner.offline import table
    from runner.offline.optimize import Wanted, optimize

    chosen = tuple(name for name in devices if name != "none") if devices else None
    wanted = Wanted(device, chosen, overrides({}, settings), dry_run)
    with console.working() as told:
        outcome = optimize(archive, target, wanted, told)
    if as_json:
        console.out_json(table.plain(outcome))
        return
    for line in table.lines(outcome):
        console.out(line)
    console.out(f"{target}" if outcome.target else "nothing was written (--dry-run)")
