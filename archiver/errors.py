"""The family of errors that people see. Imports nothing of ours.

A *finding* (config/findings.py) says what is wrong with what the user gave us and is collected; an *error*
stops a command. Every error says what was wrong, where, and what to type next; `cli/console.py` is the only
place that prints one and picks the exit code.

    ArchiveError                     exit 1
    ├── UsageError                   exit 2
    ├── MissingExtra                 a command whose optional packages are not installed
    ├── InvalidInput                 carries findings: config, handler, samples
    ├── NotFound                     a path that does not exist
    ├── OutputExists                 refuses to overwrite
    ├── CannotWrite                  disk full, read-only, permission
    ├── RefusedArchive               breaks a safety rule; names the entry and the rule
    ├── UntrustedSignature           is not signed by anybody whose signature counts
    ├── DamagedArchive               truncated or not what it says it is
    ├── UntrustedPickle              holds pickles that torch's weights_only list refuses
    └── ServeFailed                  the server could not become ready
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archiver.config.findings import Finding

#: Refusals that an error names; `archive scan` names all.
_SHOWN = 5
#: What to install for a command that needs more than the base install: importable name → extra.
EXTRAS = {
    "torch": "serve",
    "numpy": "serve",
    "uvicorn": "serve",
    "uvloop": "serve",
    "httptools": "serve",
    "starlette": "serve",
    "msgspec": "serve",
    "safetensors": "serve",
    "prometheus_client": "serve",
    "psutil": "serve",
    "multipart": "serve",
    "python_multipart": "serve",
    "torchao": "quantize",
    "transformers": "text",
    "tokenizers": "text",
    "PIL": "vision",
    "captum": "explain",
    "grpc": "grpc",
    "google": "grpc",
    "cryptography": "sign",
}


class ArchiveError(Exception):
    """Something stops the command. `code` is in words and stable (documentation anchor, API type)."""

    exit_code = 1
    code = "archive/error"

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(ArchiveError):
    """The command line asks for something that makes no sense."""

    exit_code = 2
    code = "usage"


class MissingExtra(ArchiveError):
    """A command needs packages that the base install does not bring."""

    code = "usage/missing-extra"

    def __init__(self, module: str, command: str) -> None:
        extra = EXTRAS[module]
        super().__init__(
            f"`archive {command}` needs the package {module}, which is not installed",
            hint=f"pip install 'torch-archive[{extra}]'",
        )


class InvalidInput(ArchiveError):
    """Findings of severity error in what the user gave. `spared` says what was not done because of them."""

    code = "input/invalid"

    def __init__(
        self, findings: Sequence[Finding], *, spared: str = "nothing was written", hint: str | None = None
    ) -> None:
        self.findings = tuple(findings)
        errors = sum(finding.is_error for finding in self.findings)
        super().__init__(f"{errors} error{'s' if errors != 1 else ''}; {spared}", hint=hint)


class NotFound(ArchiveError):
    """A path that the user named does not exist."""

    code = "input/not-found"


class OutputExists(ArchiveError):
    """The target is already there and --force was not given."""

    code = "output/exists"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} already exists", hint="add --force to replace it")


class CannotWrite(ArchiveError):
    """The operating system refused a write; the target is as it was before."""

    code = "output/cannot-write"


class RefusedArchive(ArchiveError):
    """The archive breaks a safety rule. Nothing of it was unpacked."""

    def __init__(self, code: str, archive: str, message: str, *, hint: str | None = None) -> None:
        self.code = code
        super().__init__(f"refusing to open `{archive}`: {message} [{code}]", hint=hint)


class UntrustedSignature(ArchiveError):
    """Its signature is missing, wrong, or by somebody whose signature does not count. Nothing of it was unpacked."""

    def __init__(self, code: str, archive: str, message: str, *, hint: str) -> None:
        self.code = code
        super().__init__(f"refusing to serve `{archive}`: {message} [{code}]", hint=hint)


class DamagedArchive(ArchiveError):
    """The file is truncated, altered or no archive at all."""

    code = "archive/damaged"


class UntrustedPickle(ArchiveError):
    """The archive wants more than torch's `weights_only` list when it is loaded, and nobody trusts it. Nothing of it
    was run. `refusals`: each an entry and what it wants.
    """

    code = "archive/untrusted-pickle"

    def __init__(self, archive: str, refusals: Sequence[str]) -> None:
        more = f", and {len(refusals) - _SHOWN} more" if len(refusals) > _SHOWN else ""
        super().__init__(
            f"`{archive}` wants more than torch's weights_only list allows: {'; '.join(refusals[:_SHOWN])}{more}",
            hint=f"`archive scan {archive}` shows all of it; if you trust whoever made it, add --trust, or have it "
            "signed: --require-signature KEYS",
        )


class ServeFailed(ArchiveError):
    """The server could not become ready."""

    code = "serve/failed"
