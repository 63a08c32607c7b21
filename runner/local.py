"""An archive's model on this machine without a server: its config settled as `archive serve` settles it, and the
order to load it. For commands that run a model themselves or in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from archiver.compiled import compiled_root
from archiver.config.model import ModelConfig, to_plain
from archiver.config.origins import Origin
from archiver.errors import ServeFailed
from archiver.manifest import Manifest
from archiver.store import Unpacked
from runner import wire
from runner.pool.cores import available_cores
from runner.pool.placement import Placement, device_kind, place
from runner.pool.spawner import Platform
from runner.settings import declared


@dataclass(frozen=True, slots=True)
class Settled:
    """The config on the kind of device that the model will run on: cpu, cuda or mps. `fallback`: the sentence that
    says which declared device is not there."""

    config: ModelConfig
    kind: str
    fallback: str | None
    platform: Platform

    @property
    def placement(self) -> Placement:
        """Where a server here would run it: how many workers, with how many threads each."""
        return place(self.config, self.kind, self.fallback, self.platform, available_cores())


def settled(text: str | None, file: str, device: str | None, flags: Mapping[str, Any]) -> Settled:
    """An archive's config as it counts here.

    `device` is asked for by name and then must be there; else a declared one that is missing becomes the CPU.
    Raises InvalidInput for a wrong config, ServeFailed for a missing device.
    """
    import torch

    wanted = declared(text, file, lenient=False)
    asked = {Origin.FLAG: {**flags, **({} if device is None else {"deviceType": device})}}
    platform = Platform(str(torch.__version__), torch.cuda.device_count(), torch.backends.mps.is_available())
    first, _ = wanted.settle(asked, None)
    kind, fallback = device_kind(first.device_type, platform, by_flag=device is not None)
    return Settled(wanted.settle(asked, kind)[0], kind, fallback, platform)


def settled_archive(opened: Unpacked, device: str | None, flags: Mapping[str, Any]) -> Settled:
    """`settled` for an archive that was opened. Raises what that raises."""
    return settled(opened.config_text, opened.manifest.config_file or "", device, flags)


def order(model_dir: Path, manifest: Manifest, here: Settled, *, trusted: bool) -> wire.Load:
    """The order to load the model on the first device of its kind. Raises ServeFailed for a model that is spread over
    several processes: this one is alone."""
    if here.config.parallel.processes > 1:
        processes = here.config.parallel.processes
        raise ServeFailed(f"{manifest.model_name} takes {processes} processes (torchrun)", hint="`archive serve` it")
    return wire.Load(
        model_name=manifest.model_name,
        model_version=manifest.model_version,
        model_dir=str(model_dir),
        manifest=manifest.document(),
        config=to_plain(here.config),
        device="cuda:0" if here.kind == "cuda" else here.kind,
        threads=here.config.threads.intra_op or 1,
        cpus=None,
        trusted=trusted,
        envelope=manifest.envelope,
    )


def served(opened: Unpacked, here: Settled, *, trusted: bool) -> wire.Load:
    """The order for a worker as a server here has it: its threads, and the compiled code that it would find, the
    archive's own and the cache's. Raises ServeFailed."""
    return structs.replace(
        order(opened.model_dir, opened.manifest, here, trusted=trusted),
        threads=here.placement.threads,
        digest=opened.manifest.content() or opened.digest,
        compile_cache=str(compiled_root()),
        precompiled=True,
    )
