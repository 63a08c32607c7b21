from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.workflow.graph import Graph, Loop, Starts
from runner import wire
from runner.workflow.execution import Params, execute
from tests.runner.loops import in_loop

FIRST = [("data", "text/plain", b"hi")]
DIAMOND = Graph.of({"a": ["b", "c"], "b": ["d"], "c": ["d"]})


def reply(text: str) -> wire.Reply:
    return wire.Reply(200, "OK", "text/plain", [], text.encode())


def plain(given: Params) -> str:
    return ",".join(f"{name}={value.decode()}" for name, _, value in given)


async def says_what_it_got(node: str, given: Params) -> wire.Reply:
    return reply(f"{node}({plain(given)})")


@in_loop
async def test_a_node_gets_one_answer_as_body_and_several_under_the_names_of_their_nodes():
    answers = await execute(DIAMOND, FIRST, says_what_it_got)
    assert {node: answer.body for node, answer in answers.items()} == {
        "d": b"d(b=b(body=a(data=hi)),c=c(body=a(data=hi)))"
    }


@in_loop
async def test_nodes_that_do_not_wait_for_each_other_run_at_once():
    under_way: set[str] = set()
    both = asyncio.Event()

    async def ask(node: str, _: Params) -> wire.Reply:
        if node in ("b", "c"):
            under_way.add(node)
            if under_way == {"b", "c"}:
                both.set()
            await both.wait()
        return reply(node)

    assert [*await execute(DIAMOND, FIRST, ask)] == ["d"]


@in_loop
async def test_a_node_that_raises_ends_the_others_and_the_whole():
    ended: list[str] = []

    async def ask(node: str, _: Params) -> wire.Reply:
        if node == "b":
            raise ValueError("no")
        if node == "c":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(node)
        return reply(node)

    with pytest.raises(ValueError, match="no"):
        await execute(DIAMOND, FIRST, ask)
    assert ended == ["c"]


@in_loop
async def test_who_gives_up_waiting_ends_the_nodes_under_way():
    started, ended = asyncio.Event(), asyncio.Event()

    async def ask(_node: str, _given: Params) -> wire.Reply:
        started.set()
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    run = asyncio.ensure_future(execute(DIAMOND, FIRST, ask))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert ended.is_set()


_NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(_NAMES, st.lists(_NAMES, max_size=3), min_size=1), st.randoms())
def test_every_node_runs_once_after_all_before_it_whatever_the_graph_and_the_order_of_answers(edges, random):
    try:
        graph = Graph.of(edges)
    except (Loop, Starts):
        return
    ran: list[str] = []

    async def ask(node: str, _: Params) -> wire.Reply:
        assert all(before in ran for before in graph.before[node])
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        assert node not in ran
        ran.append(node)
        return reply(node)

    answers = asyncio.run(execute(graph, FIRST, ask))
    assert sorted(ran) == sorted(graph.nodes)
    assert [*answers] == [*graph.leaves]
