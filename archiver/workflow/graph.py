"""A workflow's graph: which node follows which, where it begins and where it ends. Nothing here knows files."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property


class Loop(ValueError):
    """A node comes again after itself. `nodes`: one round, from a node back to it."""

    def __init__(self, nodes: Sequence[str]) -> None:
        super().__init__(" → ".join(nodes))
        self.nodes = tuple(nodes)


class Starts(ValueError):
    """A graph begins with one node, this one has several. `nodes`: all that nothing comes before."""

    def __init__(self, nodes: Sequence[str]) -> None:
        super().__init__(", ".join(nodes))
        self.nodes = tuple(nodes)


@dataclass(frozen=True)
class Graph:
    """Node → the nodes after it, in the order in which the spec names them. Raises Loop or Starts."""

    after: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, edges: Mapping[str, Sequence[str]]) -> Graph:
        """The graph of these edges. A node that is named twice after another comes after it once."""
        ends = dict.fromkeys(end for ends in edges.values() for end in ends if end not in edges)
        graph = cls(
            {**{node: tuple(dict.fromkeys(after)) for node, after in edges.items()}, **dict.fromkeys(ends, ())}
        )
        graph._check()
        return graph

    @property
    def nodes(self) -> tuple[str, ...]:
        return (*self.after,)

    @cached_property
    def before(self) -> Mapping[str, tuple[str, ...]]:
        """Node → the nodes whose answers it is given."""
        found: dict[str, list[str]] = {node: [] for node in self.after}
        for node, ends in self.after.items():
            for end in ends:
                found[end].append(node)
        return {node: tuple(starts) for node, starts in found.items()}

    @property
    def start(self) -> str:
        """The node that is given the request."""
        return next(node for node in self.after if not self.before[node])

    @property
    def leaves(self) -> tuple[str, ...]:
        """The nodes whose answers are the workflow's."""
        return tuple(node for node, ends in self.after.items() if not ends)

    def _check(self) -> None:
        waiting = {node: len(starts) for node, starts in self.before.items()}
        free = deque(node for node, count in waiting.items() if not count)
        starts = tuple(free)
        while free:
            node = free.popleft()
            del waiting[node]
            for end in self.after[node]:
                waiting[end] -= 1
                if not waiting[end]:
                    free.append(end)
        if waiting:
            raise Loop(self._round(waiting))
        if len(starts) > 1:
            raise Starts(starts)

    def _round(self, stuck: Mapping[str, int]) -> list[str]:
        """One round among nodes that wait for each other: going backwards never ends, so a node comes twice."""
        path = [next(iter(stuck))]
        while path[-1] not in path[:-1]:
            path.append(next(node for node in self.before[path[-1]] if node in stuck))
        return path[path.index(path[-1]) :][::-1]
