from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.workflow.graph import Graph, Loop, Starts


def test_a_graph_knows_where_it_begins_what_comes_before_and_where_it_ends():
    graph = Graph.of({"a": ["b", "c"], "b": ["d"], "c": ["d", "e"]})
    assert graph.nodes == ("a", "b", "c", "d", "e")
    assert graph.start == "a"
    assert graph.before["d"] == ("b", "c")
    assert graph.leaves == ("d", "e")


def test_an_edge_that_is_written_twice_is_one():
    assert Graph.of({"a": ["b", "b"]}).before["b"] == ("a",)


@pytest.mark.parametrize(
    ("edges", "loop"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        ({"a": ["b"], "b": ["c"], "c": ["d", "b"], "d": []}, ("b", "c", "b")),
    ],
)
def test_a_loop_is_refused_and_shown(edges, loop):
    with pytest.raises(Loop) as error:
        Graph.of(edges)
    assert error.value.nodes == loop


def test_a_graph_begins_with_one_node():
    with pytest.raises(Starts) as error:
        Graph.of({"a": ["c"], "b": ["c"]})
    assert error.value.nodes == ("a", "b")


_NAMES = st.sampled_from("abcdefg")


@given(st.dictionaries(_NAMES, st.lists(_NAMES, max_size=4), min_size=1))
def test_whatever_the_edges_the_answer_is_an_order_of_the_nodes_a_real_loop_or_several_starts(edges):
    every = {*edges, *(end for ends in edges.values() for end in ends)}
    try:
        graph = Graph.of(edges)
    except Loop as error:
        assert error.nodes[0] == error.nodes[-1]
        assert all(end in edges[node] for node, end in zip(error.nodes, error.nodes[1:], strict=False))
    except Starts as error:
        assert len(error.nodes) > 1
        assert not any(start in ends for start in error.nodes for ends in edges.values())
    else:
        done: set[str] = set()
        while len(done) < len(every):
            free = {node for node in graph.nodes if node not in done and done.issuperset(graph.before[node])}
            assert free, "nodes wait for each other"
            done |= free
        assert done == every
