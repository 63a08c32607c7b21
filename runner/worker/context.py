"""The Context of this worker, out of the load order."""

from __future__ import annotations

from archiver import __version__
from archiver.config.model import ModelConfig
from runner import wire
from runner.handlers.context import Context
from runner.handlers.metrics import Metrics


def context_for(load: wire.Load, config: ModelConfig) -> Context:
    """What the handler's `initialize` gets, and every batch after it."""
    context = Context(
        model_name=load.model_name,
        model_dir=load.model_dir,
        manifest=load.manifest,
        batch_size=config.batch_size,
        gpu=_gpu(load.device),
        mms_version=__version__,
        metrics=Metrics(load.model_name, load.metrics),
        model_yaml_config=dict(config.raw),
        device=load.device,
    )
    Metrics.of_worker = context.metrics
    return context


def _gpu(device: str) -> int | None:
    """The accelerator's number as TorchServe counts it: None on the CPU, 0 for the only one."""
    kind, _, number = device.partition(":")
    return None if kind == "cpu" else int(number or 0)
