"""The generator as a process, and its ceiling."""

from __future__ import annotations

import pytest

from runner.asking import Answer, target_of
from runner.bench.figures import samples
from runner.bench.inputs import Input
from runner.bench.sender import Generator, GeneratorDied, ceiling, requests_of
from tests.runner.bench.servers import ANSWER, REQUEST, answering, round_at


@pytest.fixture(scope="module")
def generator():
    with Generator() as made:
        yield made


def test_rounds_follow_each_other_in_one_process_and_each_tells_its_begin(generator):
    begun = []
    with answering(lambda number: ANSWER) as address:
        for count in (5, 7):
            ended = generator.round(round_at(address, count=count), lambda: begun.append(True))
            assert len(samples(ended).outcomes) == count
    assert len(begun) == 2


def test_the_ceiling_is_measured_with_the_request_and_an_answer_as_long_as_the_real_one(generator):
    assert ceiling(generator, REQUEST, Answer(b"x" * 100_000, "text/plain"), 2) > 0
    assert ceiling(generator, b"x" * 200_000, Answer(b"{}", "text/plain"), 2) > 0


def test_a_generator_that_is_killed_is_told_as_that():
    with Generator() as made, answering(lambda number: ANSWER) as address:
        made._process.kill()
        with pytest.raises(GeneratorDied, match="ended with status -9"):
            made.round(round_at(address), lambda: None)


def test_requests_are_whole():
    target = target_of("http://[::1]:8080/predictions/m", "", 0, None)
    made = requests_of(target, [Input(b"[1]", "application/json")], {"authorization": "Bearer k"})
    assert made == [
        b"POST /predictions/m HTTP/1.1\r\nhost: [::1]:8080\r\nauthorization: Bearer k\r\n"
        b"content-type: application/json\r\ncontent-length: 3\r\n\r\n[1]"
    ]
