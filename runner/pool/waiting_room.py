"""Which waiting room a config asks for."""

from __future__ import annotations

import math
import time

from archiver.config.model import ModelConfig
from runner.pool.cores import available_cores
from runner.scheduling.batcher import Batcher, Delay, Greedy, Policy
from runner.scheduling.sequences import Limits, SequenceBatcher


def waiting_room(config: ModelConfig) -> Batcher:
    """That of a model without state."""
    return Batcher(_policy_of(config), config.job_queue_size)


def _policy_of(config: ModelConfig) -> Policy:
    """The batching rule that the config declares. Where rows come and go in the worker it gets row by row."""
    if config.async_communication or config.continuous_batching:
        return Greedy(1)
    if config.batch_policy == "delay":
        return Delay(config.batch_size, config.max_batch_delay / 1000)
    return Greedy(config.batch_size)


def sequences_of(config: ModelConfig) -> SequenceBatcher | None:
    """The waiting room of a model with state; None for one without."""
    found = config.sequences
    if found is None:
        return None
    workers = config.max_workers or config.min_workers or len(available_cores())
    # As TorchServe counts: every place in every worker's batch may hold a sequence.
    most = max(found.most, config.batch_size * workers)
    limits = Limits(most, found.waiting, found.idle / 1000 if found.idle else math.inf)
    return SequenceBatcher(config.batch_size, config.job_queue_size, limits, time.monotonic)
