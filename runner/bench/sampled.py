"""What is sent to an archive, and the archive itself where it names no sample: for commands that measure what the
pipeline applies.

The pipeline exercises every step, and `verify` compares answers, on `warmup.input`; without it nothing is applied.
So what a person sends to an archive that lacks it is put into a copy, and that is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archiver.members import Member
from archiver.repack import member_of, repack
from archiver.store import Unpacked, unpack
from runner.bench.inputs import Input, Inputs, of_archive, of_path
from runner.content_types import suffix_of
from runner.local import Settled
from runner.offline.reconfigured import child_of, own_members, with_config
from runner.offline.settings import config_file

_NOTE = (
    "the archive names no sample, and without one a server applies no optimisation: measured with the first input "
    "as `warmup: {{input: {name}}}`"
)


@dataclass(frozen=True, slots=True)
class Sampled:
    """`file`: what a server is started of; `opened`, `here`: the same, and how it runs here; `inputs`: what is sent;
    `notes`: what was done to the archive."""

    file: Path
    opened: Unpacked
    here: Settled
    inputs: Inputs
    notes: tuple[str, ...] = ()


def sampled(
    file: Path,
    opened: Unpacked,
    settle: Callable[[Unpacked], Settled],
    source: Path | None,
    content_type: str | None,
    *,
    folder: Path,
    told: Callable[[str], None],
) -> Sampled:
    """The archive, or a copy of it in `folder`. `source`: what to send, None for what the archive packs.

    Raises NoInput, NotFound, CannotWrite, and what settling raises.
    """
    here = settle(opened)
    warmup = here.config.warmup.input
    inputs = of_archive(opened, warmup, content_type) if source is None else of_path(source, content_type)
    if warmup is not None:
        return Sampled(file, opened, here, inputs)
    told("the archive names no sample: putting the first input into a copy")
    copy, name = _with_sample(file, opened, inputs.each[0], folder)
    again = unpack(copy)
    return Sampled(copy, again, settle(again), inputs, (_NOTE.format(name=name),))


def _with_sample(file: Path, opened: Unpacked, sample: Input, folder: Path) -> tuple[Path, str]:
    """A copy whose config names that sample, and the sample's name."""
    members = own_members(opened)
    member = _packed(members, sample) or _new(members, sample, folder)
    flags = {"warmup": {"input": member.name}}
    config = folder / "config"
    written = config_file(config, opened.config_text, opened.manifest.config_file, flags, "the sample's copy")
    kept = [each for each in members if each.name != member.name]
    copy = folder / "copy.mar"
    repack(copy, *with_config([*kept, member], child_of(opened, file), config, written))
    return copy, member.name


def _packed(members: list[Member], sample: Input) -> Member | None:
    """The same as a sample that the archive packs and does not name."""
    return next((each for each in members if each.role == "sample" and each.source.read_bytes() == sample.body), None)


def _new(members: list[Member], sample: Input, folder: Path) -> Member:
    taken = {each.name for each in members}
    suffix = suffix_of(sample.content_type)
    names = (f"sample{number or ''}{suffix}" for number in range(len(taken) + 1))
    name = next(name for name in names if name not in taken)
    file = folder / name
    file.write_bytes(sample.body)
    return member_of(name, file, "sample")
