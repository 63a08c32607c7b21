"""Placed events → one tree of who called what, the batches laid over each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from runner.profile.events import Kind, Placed


class Branch(msgspec.Struct, rename="camel"):
    """`share`: part of all batches' time, what it called included. `calls`: in all batches."""

    name: str
    is_operator: bool
    calls: int = 0
    share: float = 0.0
    branches: list[Branch] = []

    def walk(self, least: float, depth: int = 0) -> Iterator[tuple[int, Branch]]:
        """This one and those below it with at least so large a share, each with its depth."""
        if self.share >= least:
            yield depth, self
            for branch in self.branches:
                yield from branch.walk(least, depth + 1)


def tree(events: Iterable[Placed], root: str) -> Branch:
    """The largest first. Times of a branch on other threads are not in it."""
    nodes: dict[tuple[str, ...], Branch] = {}
    for each in sorted(events, key=lambda each: len(each.path)):
        path = (*each.path, each.event.name)
        if path[0] != root:
            continue
        node = nodes.get(path)
        if node is None:
            node = nodes[path] = Branch(each.event.name, each.event.kind is Kind.OPERATOR)
            if each.path:
                nodes[each.path].branches.append(node)
        node.calls += 1
        node.share += each.event.end - each.event.start
    whole = nodes[(root,)].share or 1.0
    for node in nodes.values():
        node.share /= whole
        node.branches.sort(key=lambda branch: -branch.share)
    return nodes[(root,)]
