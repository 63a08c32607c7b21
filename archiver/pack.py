"""The recipe of `archive create`: plan, check, write, seal, publish.

One pass over every byte: read, hash, write. The archive grows beside its target and takes its place by a rename;
whatever goes wrong, Ctrl-C included, the target is as it was.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from archiver import __version__, sbom
from archiver.checks import UNPACKABLE, check, names_class
from archiver.config.findings import Finding, Severity
from archiver.containers.draft import cannot_write
from archiver.containers.formats import FORMATS, Format
from archiver.containers.source import Sink
from archiver.errors import ArchiveError, InvalidInput, OutputExists
from archiver.manifest import BILL, MANIFEST, SBOM, FileEntry, Manifest, created_on, digest, with_files
from archiver.members import Member, plan
from archiver.progress import Advance, Progress, silent
from archiver.project import Project, Typed, candidates

_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class Summary:
    """What `create` made: `size` of the archive in bytes, `digest` of its content, `seconds` it took."""

    path: Path
    size: int
    digest: str
    seconds: float
    manifest: Manifest
    config_keys: tuple[str, ...]
    warnings: tuple[Finding, ...]


def create(project: Project, *, force: bool = False, checks: bool = True, progress: Progress = silent) -> Summary:
    """Write the project's archive. `force` replaces an older one; without `checks` their errors are warnings.

    Raises InvalidInput (nothing was written), OutputExists, CannotWrite.
    """
    started = time.monotonic()
    target = project.target
    refuse_existing(target, force=force)
    members, findings = planned(project, checks)
    manifest, content = write(target, FORMATS[project.archive_format], members, _manifest(project), progress)
    return Summary(
        path=target,
        size=size_of(target),
        digest=content,
        seconds=time.monotonic() - started,
        manifest=manifest,
        config_keys=_config_keys(project),
        warnings=tuple(findings),
    )


def write(
    target: Path, form: Format, members: Sequence[Member], manifest: Manifest, progress: Progress = silent
) -> tuple[Manifest, str]:
    """Members and a manifest → an archive in the target's place; the manifest with its files, the content's digest.

    Raises CannotWrite, and ArchiveError where a member cannot be read; then the target is as it was.
    """
    with publishing(form, target) as sink, progress(f"packing {target.name}", _total(members)) as advance:
        files = [_write(sink, member, advance) for member in members]
        files.append(_write_sbom(sink, with_files(manifest, files), members))
        whole = with_files(manifest, files)
        listed = [*((file.path, file.sha256) for file in files), _write_manifest(sink, whole)]
    return whole, digest(listed)


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raises OutputExists, and ArchiveError for a folder that must not be replaced."""
    if not target.exists():
        return
    if not force:
        raise OutputExists(str(target))
    if target.is_dir() and not (target / MANIFEST).is_file():
        message = f"{target} is a folder that is no archive; it is not replaced"
        raise ArchiveError(message, hint="--export-path DIR puts the archive elsewhere")


def planned(project: Project, checks: bool) -> tuple[tuple[Member, ...], list[Finding]]:
    """What would be packed, and warnings. Raises InvalidInput."""
    found, missing = candidates(project)
    members, clashes = plan(found)
    findings = [*missing, *clashes, *check(project, members)]
    if not checks:
        findings = [finding if finding.code in UNPACKABLE else _softened(finding) for finding in findings]
    if any(finding.is_error for finding in findings):
        hint = None if any(f.is_error and f.code in UNPACKABLE for f in findings) else "--no-check packs it anyway"
        raise InvalidInput(findings, hint=hint)
    return members, findings


def _softened(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.WARNING) if finding.is_error else finding


@contextmanager
def publishing(form: Format, target: Path) -> Iterator[Sink]:
    """A sink that becomes the target when the block ends, or nothing when it fails."""
    try:
        sink = form.sink(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield sink
        sink.publish()
    except OSError as error:
        sink.abort()
        raise cannot_write(target, error) from error
    except BaseException:
        sink.abort()
        raise


def _write(sink: Sink, member: Member, advance: Advance) -> FileEntry:
    """One member: source → hash → sink. The hash runs in a thread of its own, one chunk behind."""
    count = 0
    sink.begin(member.name, member.size)
    with _Digest() as hashing:
        for chunk in _chunks(member):
            hashing.update(chunk)
            sink.write(chunk)
            count += len(chunk)
            advance(len(chunk))
        sha256 = hashing.hexdigest()
    if count != member.size:
        raise ArchiveError(f"{member.source} changed while it was being packed", hint="try again")
    sink.end()
    return FileEntry(member.name, count, sha256, member.role, member.format)


def _chunks(member: Member) -> Iterator[bytes]:
    """The source's bytes. Its errors are told apart from those of the target."""
    try:
        with member.source.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise ArchiveError(f"cannot read {member.source}: {error.strerror}") from error


class _Digest:
    """sha256 beside the work: hashing large chunks releases the interpreter's lock."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pool: ThreadPoolExecutor | None = None
        self._behind: Future[None] | None = None

    def __enter__(self) -> _Digest:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def update(self, chunk: bytes) -> None:
        if len(chunk) < _CHUNK and self._pool is None:
            self._hash.update(chunk)
            return
        self._wait()
        self._pool = self._pool or ThreadPoolExecutor(1)
        self._behind = self._pool.submit(self._hash.update, chunk)

    def hexdigest(self) -> str:
        self._wait()
        return self._hash.hexdigest()

    def _wait(self) -> None:
        if self._behind is not None:
            self._behind.result()


def _write_sbom(sink: Sink, manifest: Manifest, members: Sequence[Member]) -> FileEntry:
    """The last member but the manifest, which lists it."""
    texts = (b"".join(_chunks(member)) for member in members if member.role == "requirements")
    data = sbom.to_bytes(manifest, b"\n".join(texts).decode("utf-8-sig", "replace"), _installed)
    return FileEntry(SBOM, len(data), _put(sink, SBOM, data), BILL)


def _write_manifest(sink: Sink, manifest: Manifest) -> tuple[str, str]:
    """The last member; its name and digest."""
    return MANIFEST, _put(sink, MANIFEST, manifest.to_bytes())


def _put(sink: Sink, name: str, data: bytes) -> str:
    """A member from memory; its digest."""
    sink.begin(name, len(data))
    sink.write(data)
    sink.end()
    return hashlib.sha256(data).hexdigest()


def _manifest(project: Project) -> Manifest:
    handler, handler_class = _handler_names(project)
    return Manifest(
        model_name=project.name,
        model_version=project.version,
        handler=handler,
        handler_class=handler_class,
        serialized_file=_name(project.checkpoint),
        model_file=_name(project.model_file),
        config_file=_name(project.config),
        requirements_file=_name(project.requirements),
        runtime=project.runtime,
        created_on=created_on(os.environ.get("SOURCE_DATE_EPOCH")),
        archiver_version=__version__,
        description=project.description,
        license=project.license,
        build=_build(project.base),
    )


def _name(typed: Typed | None) -> str | None:
    return typed.path.name if typed else None


def _handler_names(project: Project) -> tuple[str, str | None]:
    """The handler in TorchServe's spelling, and the class for our own key."""
    file, entry = project.handler.file, project.handler.entry
    if file is None:
        return project.handler.text, None
    if entry is None:
        return file.path.name, None
    if names_class(file.path, entry):
        return file.path.name, entry
    return f"{file.path.stem}:{entry}", None


def _build(base: Path) -> dict[str, str]:
    """What the archive was built with. All of it is input: the same build gives the same bytes."""
    known = {
        "tool": f"torch-archive {__version__}",
        "python": platform.python_version(),
        "torch": _installed("torch"),
        "gitCommit": _git_commit(base),
    }
    return {key: value for key, value in known.items() if value is not None}


def _installed(package: str) -> str | None:
    """Its version in this environment."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit(folder: Path) -> str | None:
    """The commit checked out around a folder, with `-dirty` where tracked files differ from it."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _config_keys(project: Project) -> tuple[str, ...]:
    if project.config is None:
        return ()
    from archiver.config.source import read_source

    return tuple(map(str, read_source(project.config.path.read_bytes(), project.config.shown).values))


def _total(members: Sequence[Member]) -> int:
    return sum(member.size for member in members)


def size_of(target: Path) -> int:
    """Bytes of the archive; of a folder, of all its files."""
    if target.is_file():
        return target.stat().st_size
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
