"""Settings of the command line, written into the archive's config: what was measured is what serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from archiver.config.forms import normal_form
from archiver.config.origins import laid_over
from archiver.config.source import read_source

#: The config's name in an archive that had none.
CONFIG = "model-config.yaml"


def config_with(text: str | None, name: str, flags: Mapping[str, Any], head: str) -> str:
    """The config's text with `flags` over everything that it declares, also for single devices; its comments are
    lost, `head` comes in front.

    Raises InvalidInput for a config that cannot be read.
    """
    given = normal_form(flags)
    values = laid_over(normal_form(read_source(text or "", name).values), given)
    devices = values.get("devices")
    if isinstance(devices, Mapping):
        values["devices"] = {device: laid_over(block or {}, given) for device, block in devices.items()}
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def config_file(folder: Path, text: str | None, name: str | None, flags: Mapping[str, Any], by: str) -> Path:
    """`config_with` as a file in `folder`, under the name that the archive has for it; its head says `by` whom."""
    file = folder / (name or CONFIG)
    file.parent.mkdir(parents=True, exist_ok=True)
    head = f"# {file.name} with the settings that {by} was given.\n"
    file.write_text(config_with(text, file.name, flags, head))
    return file
