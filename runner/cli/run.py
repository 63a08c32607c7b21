"""`archive run`: one request in this process, through the very code that serves, with real tracebacks."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import click

from archiver.cli import console
from archiver.errors import ArchiveError, InvalidInput, NotFound
from archiver.manifest import MANIFEST, Manifest
from archiver.requirements import not_installed

if TYPE_CHECKING:
    from archiver.project import Project
    from runner import wire
    from runner.worker.session import Session


@dataclass(frozen=True, slots=True)
class _Target:
    """What to run: the folder that the handler works in, the manifest, and the config with its file's name."""

    model_dir: Path
    manifest: Manifest
    config_text: str | None
    config_file: str


class RunFailed(ArchiveError):
    """The model cannot be loaded, or what its handler returns is no answer."""

    code = "run/failed"


@click.command()
@click.argument("target", metavar="HANDLER.py[:NAME]|ARCHIVE|PROJECT")
@click.option(
    "--input",
    "input_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The request's body. Default: the sample that the config names (warmup.input).",
)
@click.option("--content-type", help="The body's content type. Default: by the file's suffix.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "gpu", "mps"]), help="Where to run (deviceType).")
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A model-config.yaml instead of the target's own.",
)
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1), help="Send it so often, and time it.")
@click.option("--trust", is_flag=True, help="Let checkpoints unpickle beyond torch's weights_only allow-list.")
def run(
    target: str,
    input_file: Path | None,
    content_type: str | None,
    device: str | None,
    config_file: Path | None,
    repeat: int,
    trust: bool,
) -> None:
    """Run one request in this process and print the answer.

    No server, no worker, no second thread: `breakpoint()` in the handler works. The exit code is 1 when the
    answer is an error.
    """
    asked = None if input_file is None else input_file.absolute()
    with _opened(target, trust) as found:
        told = not_installed(found.model_dir, found.manifest.requirements_file)
        if told:
            console.note(told)
        load = _load_of(found, config_file, device, trust)
        reply = _answered(load, asked, content_type, repeat)
    _print(reply)
    if reply.status >= 400:
        sys.exit(1)


@contextmanager
def _opened(target: str, trust: bool) -> Iterator[_Target]:
    """The target, however it was named. Raises NotFound and what opening an archive raises."""
    path, _, name = target.partition(":")
    file = Path(path)
    if not file.exists():
        raise NotFound(f"{path} does not exist")
    if file.suffix == ".py" and not (file.parent / "archive.yaml").is_file():
        handler = f"{file.name}:{name}" if name else file.name
        yield _Target(file.parent.absolute(), Manifest(file.stem, "1.0", handler=handler), None, "")
    elif file.suffix == ".py":
        yield from _project(file.parent, str(file.absolute()) + (f":{name}" if name else ""))
    elif file.is_dir() and not (file / MANIFEST).is_file():
        yield from _project(file, None)
    else:
        yield _archive(file, trust)


def _archive(file: Path, trust: bool) -> _Target:
    from archiver.scan.scan import scan_folder
    from archiver.store import unpack

    opened = unpack(file)
    if not trust:
        scan_folder(file, opened.model_dir).require_safe()
    return _Target(opened.model_dir, opened.manifest, opened.config_text, str(file))


def _project(folder: Path, handler: str | None) -> Iterator[_Target]:
    """The project as its archive would be, but of links to its files: what runs, breaks and is stepped through
    are the files that the user edits."""
    from archiver.members import plan
    from archiver.project import candidates, from_flags

    project = from_flags(folder=folder, handler=handler)
    found, findings = candidates(project)
    members, clashes = plan(found)
    if any(finding.is_error for finding in [*findings, *clashes]):
        raise InvalidInput([*findings, *clashes])
    with tempfile.TemporaryDirectory(prefix="archive-run-") as made:
        for member in members:
            link = Path(made) / member.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(member.source.resolve())
        config = project.config
        text = config.path.read_text("utf-8") if config else None
        yield _Target(Path(made), _manifest_of(project), text, config.shown if config else "")


def _manifest_of(project: Project) -> Manifest:
    asked, checkpoint, model_file = project.handler, project.checkpoint, project.model_file
    handler = asked.text if asked.file is None else asked.file.path.name + (f":{asked.entry}" if asked.entry else "")
    return Manifest(
        project.name,
        project.version,
        handler=handler,
        serialized_file=checkpoint.path.name if checkpoint else None,
        model_file=model_file.path.name if model_file else None,
        requirements_file=project.requirements.path.name if project.requirements else None,
    )


def _load_of(found: _Target, config_file: Path | None, device: str | None, trust: bool) -> wire.Load:
    from runner.local import order, settled

    text, name = found.config_text, found.config_file
    if config_file is not None:
        text, name = config_file.read_text("utf-8"), str(config_file)
    here = settled(text, name, device, {})
    if here.fallback:
        console.note(here.fallback)
    return order(found.model_dir, found.manifest, here, trusted=trust)


def _answered(load: wire.Load, file: Path | None, content_type: str | None, repeat: int) -> wire.Reply:
    from runner.handlers.errors import CannotLoad
    from runner.worker.session import Session, WrongResult

    session = Session(load)
    try:
        session.load()
        return _asked(session, _row(load, file, content_type), repeat)
    except ArchiveError:
        raise
    except (CannotLoad, WrongResult) as error:
        raise RunFailed(": ".join(map(str, error.args))) from error
    except Exception:  # noqa: BLE001 - user code; printed here, where a project's linked files still exist to be quoted
        traceback.print_exc()
        sys.exit(1)
    finally:
        session.close()


def _row(load: wire.Load, file: Path | None, content_type: str | None) -> wire.Row:
    from runner.worker.sample import row_from, sample_row

    if file is not None:
        return row_from(file, content_type)
    sample = sample_row(Path(load.model_dir), load.config["warmup"]["input"])
    if sample is None:
        raise RunFailed("no input", hint="--input FILE, or `warmup: {input: sample.json}` in the config")
    return sample


def _asked(session: Session, row: wire.Row, repeat: int) -> wire.Reply:
    """The last of `repeat` answers; the times go to stderr."""
    times = []
    for _ in range(repeat):
        started = perf_counter()
        answered = session.answer([row])
        times.append((perf_counter() - started) * 1000)
    if repeat > 1:
        console.note(f"{repeat} requests: median {median(times):.3f} ms, fastest {min(times):.3f} ms")
    return answered.replies[0]


def _print(reply: wire.Reply) -> None:
    """The body as it is: text as lines, anything else as bytes."""
    kind = reply.content_type.partition(";")[0]
    if kind == "application/json" or kind.startswith("text/"):
        console.out(reply.body.decode(errors="replace"))
    else:
        click.echo(reply.body, nl=False)
    if reply.status >= 400:
        console.note(f"status {reply.status} {reply.phrase}".rstrip())
