"""`archive predict URL|NAME --input FILE`: post a file to a running server and print the answer.

Standard library only: it must work where nothing but the base install is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from archiver.cli import console
from archiver.errors import ArchiveError, NotFound
from runner.asking import Answer, post, reason_of, target_of
from runner.content_types import content_type_of

SECONDS = click.FloatRange(min=0, min_open=True)


def show(answer: Answer) -> None:
    """Print the body. Bytes that are no text go out unchanged, so that `> file` keeps them."""
    try:
        text = answer.body.decode()
    except UnicodeDecodeError:
        sys.stdout.buffer.write(answer.body)
        return
    console.out(text.removesuffix("\n"))


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except OSError as error:
        raise ArchiveError(f"cannot read {path}: {reason_of(error)}") from error


@click.command()
@click.argument("model", metavar="URL|NAME")
@click.option("--input", "-i", "source", required=True, type=click.Path(path_type=Path), help="File; - is stdin.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Server of a model given by NAME.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Its port.")
@click.option("--version", help="Version of a model given by NAME; the server's default otherwise.")
@click.option("--content-type", help="What the file holds; guessed from its suffix otherwise.")
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds.",
)
def predict(
    model: str,
    source: Path,
    host: str,
    port: int,
    version: str | None,
    content_type: str | None,
    timeout: float,
) -> None:
    """Send a file to a running server and print the answer.

    NAME is a model's name on --host and --port; URL is any full address.
    """
    target = target_of(model, host, port, version)
    body = _read(source)
    show(post(target, body, content_type or content_type_of(source.name), timeout))
