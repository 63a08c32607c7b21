"""Every kept input, and a few new ones, through each target: what was mended stays so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.engines import inputs
from tests.fuzz.targets import CORPUS, TARGETS, corpus, load

KEPT = [(name, path) for name in TARGETS for path in corpus(name)]


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize(("name", "path"), KEPT, ids=[f"{name}-{path.name}" for name, path in KEPT])
def test_a_kept_input_is_handled(name: str, path: Path) -> None:
    load(name)(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_new_inputs_are_handled(name: str, data: st.DataObject) -> None:
    load(name)(data.draw(inputs(name)))
