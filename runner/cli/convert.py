"""`archive convert`: a pickled state dict → safetensors, in a bare checkpoint or in an archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli import console
from archiver.containers.formats import is_archive, stem
from archiver.errors import UsageError
from archiver.pack import refuse_existing, size_of

if TYPE_CHECKING:
    from runner.offline.convert import Converted, Weights

_SHOWN = 6


@click.command()
@click.argument("source", metavar="CHECKPOINT|ARCHIVE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="What to write; default: NAME.safetensors, for an archive NAME-safetensors.mar.",
)
@click.option("--key", help="Take the state dict under this key of the checkpoint, and nothing beside it.")
@click.option("--tensors-only", is_flag=True, help="Leave out what is no tensor, and list it.")
@click.option("--no-check", is_flag=True, help="Code that names the old file becomes a warning.")
@click.option("-f", "--force", is_flag=True, help="Replace a file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def convert(
    source: Path, output: Path | None, key: str | None, tensors_only: bool, no_check: bool, force: bool, as_json: bool
) -> None:
    """Turn a pickled state dict into safetensors, which nothing has to unpickle.

    A checkpoint (model.pt → model.safetensors), or an archive, whose other files stay as they are. Nothing that
    torch's weights_only list does not allow is unpickled. Every tensor is read back and compared bit for bit
    before the new file takes its place; the original is never touched.
    """
    archive = is_archive(source)
    target = output or _beside(source, archive=archive)
    if target.exists() and target.resolve() == source.resolve():
        raise UsageError(f"{source} is never replaced by what it becomes", hint="name another file: -o FILE")
    refuse_existing(target, force=force)
    from runner.offline.convert import convert_archive, convert_file
    from runner.offline.state import Wanted

    wanted = Wanted(key, tensors_only)
    with console.working() as told:
        told(f"converting {source.name}")
        if archive:
            done = convert_archive(source, target, wanted, checks=not no_check)
        else:
            done = convert_file(source, target, wanted)
    for finding in done.warnings:
        console.note(console.finding_text(finding))
    if as_json:
        console.out_json(_plain(done))
        return
    for line in [*_lines(done.weights), *(_archive_lines(done, source) if archive else [])]:
        console.out(line)


def _beside(source: Path, *, archive: bool) -> Path:
    return source.with_name(f"{stem(source)}-safetensors.mar") if archive else source.with_suffix(".safetensors")


def _lines(weights: Weights) -> Iterator[str]:
    before, after = map(console.size, weights.sizes)
    yield (
        f"{weights.before} → {console.bold(weights.after)}: {before} → {after}, "
        f"{weights.tensors} tensors, each the same bit for bit"
    )
    tied = (f"{name} is stored as {kept}" for name, kept in weights.tied.items())
    left_out = (f"{name} ({what})" for name, what in weights.left_out.items())
    yield from _listed("tied", tied)
    yield from _listed("copied", weights.views, "lay in one another's memory, which safetensors cannot say")
    yield from _listed("left out", left_out)


def _archive_lines(done: Converted, source: Path) -> Iterator[str]:
    """What is true of the new archive, and what no longer is."""
    if done.compiled:
        told = "was for the old weights: `archive optimize` or `archive create --precompile` makes it anew"
        yield _row("compiled", f"code for {', '.join(done.compiled)} is left out, it {told}")
    if done.signature:
        told = f"`archive sign {done.path} --key PRIVATE.pem` signs it"
        yield _row("signature", f"that of {source} does not hold for it, and is left out: {told}")
    yield from _listed("pickles", done.pickles, "unpickled by whatever opens them, as before")
    yield _row("TorchServe", f"its own handlers read no safetensors: keep {source} for it")
    yield f"{done.path}  {console.size(size_of(done.path))}"


def _listed(name: str, items: Any, about: str = "") -> Iterator[str]:
    found = list(items)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    if found:
        yield _row(name, f"{', '.join(found[:_SHOWN])}{more}{f': {about}' if about else ''}")


def _row(name: str, text: str) -> str:
    return f"  {console.dim(f'{name:<11}')}{text}"


def _plain(done: Converted) -> dict[str, Any]:
    """For --json. Sizes in bytes."""
    weights = done.weights
    return {
        "path": str(done.path),
        "size": size_of(done.path),
        "weights": {
            "file": weights.before,
            "becomes": weights.after,
            "sizeBefore": weights.sizes[0],
            "size": weights.sizes[1],
            "tensors": weights.tensors,
            "tied": weights.tied,
            "copied": list(weights.views),
            "leftOut": weights.left_out,
        },
        "signatureLeftOut": done.signature,
        "compiledLeftOut": list(done.compiled),
        "pickles": list(done.pickles),
        "warnings": [str(finding) for finding in done.warnings],
    }
