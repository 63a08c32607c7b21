"""One request's way through a workflow: a node runs as soon as all before it have answered, several at once.

What a node is given is TorchServe's rule: the first one gets the request as it came, a node after one other its
answer as `body`, a node after several each answer under the name of the node that gave it. Always as bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from archiver.workflow.graph import Graph
from runner import wire

#: A row's parameters: name, content type, value.
Params = Sequence[tuple[str, str, bytes]]
#: Node and what it is given → its answer. What it raises ends the whole.
Ask = Callable[[str, Params], Awaitable[wire.Reply]]

_BYTES = "application/octet-stream"


async def execute(graph: Graph, given: Params, ask: Ask) -> dict[str, wire.Reply]:
    """The answers of the leaves. When a node raises, or this is cancelled, the nodes under way are cancelled."""
    answers: dict[str, wire.Reply] = {}
    running = {asyncio.ensure_future(ask(graph.start, given)): graph.start}
    try:
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                node = running.pop(task)
                answers[node] = task.result()
                for following in graph.after[node]:
                    if all(before in answers for before in graph.before[following]):
                        running[asyncio.ensure_future(ask(following, _given(graph, following, answers)))] = following
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return {leaf: answers[leaf] for leaf in graph.leaves}


def _given(graph: Graph, node: str, answers: Mapping[str, wire.Reply]) -> Params:
    before = graph.before[node]
    if len(before) == 1:
        return [("body", _BYTES, answers[before[0]].body)]
    return [(each, _BYTES, answers[each].body) for each in before]
