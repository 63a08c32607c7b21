"""Model configs for tests: the schema's defaults, with what the test is about on top."""

from __future__ import annotations

from typing import Any

from archiver.config.model import ModelConfig
from archiver.config.origins import Origin, effective


def make_config(**values: Any) -> ModelConfig:
    """`make_config(batchSize=4)`: keys as in the YAML."""
    return ModelConfig.from_values(effective({Origin.YAML: values}).values, values)
