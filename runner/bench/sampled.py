"""An archive that names no sample, with one: for commands that measure what the pipeline applies.

The pipeline exercises every step, and `verify` compares answers, on `warmup.input`; without it nothing is applied.
So what a person sends to an archive that lacks it is put into a copy, and that is measured.
"""

from __future__ import annotations

from pathlib import Path

from archiver.members import Member
from archiver.repack import member_of, repack
from archiver.store import Unpacked, unpack
from runner.bench.inputs import Input
from runner.content_types import suffix_of
from runner.offline.reconfigured import child_of, own_members, with_config
from runner.offline.settings import config_file

NOTE = (
    "the archive names no sample, and without one a server applies no optimisation: measured with the first input "
    "as `warmup: {{input: {name}}}`"
)


def with_sample(file: Path, opened: Unpacked, sample: Input, folder: Path) -> tuple[Path, Unpacked, str]:
    """A copy in `folder` whose config names that sample, the same opened, and what is to be told of it.

    Raises CannotWrite, and InvalidInput for a config that cannot be read.
    """
    members = own_members(opened)
    member = _packed(members, sample) or _new(members, sample, folder)
    config = folder / "config"
    written = config_file(config, opened.config_text, opened.manifest.config_file, {"warmup": {"input": member.name}})
    kept = [each for each in members if each.name != member.name]
    copy = folder / f"{opened.manifest.model_name}.mar"
    repack(copy, *with_config([*kept, member], child_of(opened, file), config, written))
    return copy, unpack(copy), NOTE.format(name=member.name)


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
