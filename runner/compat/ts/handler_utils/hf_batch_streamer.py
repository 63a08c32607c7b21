"""ts.handler_utils.hf_batch_streamer: the generated texts of a batch as they come, row by row."""

from __future__ import annotations

from typing import Any

from transformers.generation.streamers import BaseStreamer, TextIteratorStreamer  # type: ignore[import-untyped,unused-ignore]

__all__ = ["TextIteratorStreamerBatch"]


class TextIteratorStreamerBatch(BaseStreamer):  # type: ignore[misc,unused-ignore]
    """One text streamer per row of a batch; iterating gives a list of `{"text": …}` per step, until any row has
    ended."""

    def __init__(
        self, tokenizer: Any, batch_size: int, skip_prompt: bool = False, timeout: float | None = None, **decode: Any
    ) -> None:
        self.batch_size = batch_size
        make: Any = TextIteratorStreamer  # transformers is not typed
        self.streamers = [make(tokenizer, skip_prompt, timeout, **decode) for _ in range(batch_size)]
        self._iterators = [iter(streamer) for streamer in self.streamers]

    def put(self, value: Any) -> None:
        """New tokens, one row each. Raises ValueError for another number of rows."""
        if value.shape[0] != self.batch_size:
            raise ValueError(f"{value.shape[0]} rows of tokens came for a batch of {self.batch_size}")
        for number, streamer in enumerate(self.streamers):
            streamer.put(value[number : number + 1])

    def end(self) -> None:
        """Nothing more comes."""
        for streamer in self.streamers:
            streamer.end()

    def __iter__(self) -> TextIteratorStreamerBatch:
        return self

    def __next__(self) -> list[dict[str, str]]:
        # All rows are asked before any ends it: a row that has ended must not leave the others a step behind.
        texts = [next(iterator, None) for iterator in self._iterators]
        if None in texts:
            raise StopIteration
        return [{"text": str(text)} for text in texts]
