"""ts.handler_utils.micro_batching: a batch in small parts, whose stages overlap in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

from ts.torch_handler.base_handler import BaseHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

_STAGES = ("preprocess", "inference", "postprocess")


class MicroBatching:
    """Cuts each batch into parts of `micro_batch_size` rows and runs the handler's three stages on them, so that
    one part is prepared while another is in the model. A handler sets `self.handle = MicroBatching(self)`.

    `parallelism`: threads per stage, 1 where it says nothing. Stages run at the same time: what one part's stages
    have to tell each other must travel in their results, not in attributes of the handler.
    """

    def __init__(
        self, parent_handler: Any, micro_batch_size: int = 1, parallelism: Mapping[str, int] | None = None
    ) -> None:
        self.handler = parent_handler
        self.micro_batch_size = micro_batch_size
        self._parallelism = dict(parallelism or {})
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._here = threading.local()

    @property
    def parallelism(self) -> dict[str, int]:
        return dict(self._parallelism)

    @parallelism.setter
    def parallelism(self, parallelism: Mapping[str, int]) -> None:
        self._parallelism.update(parallelism)
        self.shutdown()

    def shutdown(self) -> None:
        """End the threads; the next batch starts new ones."""
        for pool in self._pools.values():
            pool.shutdown()
        self._pools = {}

    def __call__(self, data: Sequence[Any], context: Any) -> list[Any]:
        """One answer per row, in order. Raises what the first part that failed raised."""
        handler = self.handler
        handler.context = context
        if isinstance(handler, BaseHandler) and (handler._is_explain() or handler._is_describe()):
            answers: list[Any] = BaseHandler.handle(handler, data, context)
            return answers
        started = perf_counter()
        answers = self._in_parts(data)
        context.metrics.add_time("HandlerTime", round((perf_counter() - started) * 1000, 2), None, "ms")
        return answers

    def handle(self, data: Sequence[Any], context: Any = None) -> list[Any]:
        """As a call; without a context the three stages alone, as TorchServe's."""
        return self._in_parts(data) if context is None else self(data, context)

    def get_micro_batch_idx(self) -> int | None:
        """The number of the part that this thread is at work on, within its batch; None elsewhere."""
        return getattr(self._here, "number", None)

    def _in_parts(self, data: Sequence[Any]) -> list[Any]:
        size = self.micro_batch_size
        starts = range(0, len(data), size)
        parts = [self._begun(number, data[start : start + size]) for number, start in enumerate(starts)]
        return [answer for part in parts for answer in part.result()]

    def _begun(self, number: int, rows: Sequence[Any]) -> Future[Any]:
        # A stage's thread waits for the stage before, never for the one after: they cannot block each other.
        pools, handler = self._started(), self.handler
        prepared = pools["preprocess"].submit(self._stage, number, handler.preprocess, lambda: rows)
        inferred = pools["inference"].submit(self._stage, number, handler.inference, prepared.result)
        return pools["postprocess"].submit(self._stage, number, handler.postprocess, inferred.result)

    def _stage(self, number: int, work: Callable[[Any], Any], taken: Callable[[], Any]) -> Any:
        value = taken()
        self._here.number = number
        return work(value)

    def _started(self) -> dict[str, ThreadPoolExecutor]:
        if not self._pools:
            self._pools = {
                stage: ThreadPoolExecutor(self._parallelism.get(stage, 1), thread_name_prefix=stage)
                for stage in _STAGES
            }
        return self._pools
