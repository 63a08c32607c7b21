"""Model configs and archive.yaml: findings instead of exceptions, in every format; what is valid can be served."""

from __future__ import annotations

from archiver.config.model import ModelConfig
from archiver.config.origins import Origin, effective
from archiver.config.render import FORMATS, render
from archiver.config.render.verdict import Verdict
from archiver.config.validate import examine_config, examine_project


def one(data: bytes) -> None:
    checked = examine_config(data, "model-config.yaml", members=["handler.py"])
    examine_project(data, "archive.yaml")
    for format_ in FORMATS:
        render(format_, Verdict(("model-config.yaml",), tuple(checked.findings))).encode()
    if not any(finding.is_error for finding in checked.findings):
        ModelConfig.from_values(effective({Origin.YAML: checked.values}).values, checked.values)
