"""Stand-ins for methods, and what of a call is padding."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import nn

from runner.profile.messages import Call
from runner.profile.padding import call_of
from runner.profile.ranges import instead, ranges, why_not_apart


class Tokens(nn.Module):
    def forward(self, input_ids, attention_mask=None, key_padding_mask=None):
        return input_ids


class Session:
    """As much of a session as ranges look at."""

    def __init__(self, handler, module):
        self.handler, self.module = handler, module


class Handler:
    def preprocess(self, value):
        return value + 1


def names(session, work, **how):
    found = []

    @contextmanager
    def span(name):
        found.append(name)
        yield

    with ranges(session, span, **how):
        work()
    return found


def test_stages_forward_and_parts_are_spans_and_afterwards_nothing_is_left():
    handler, module = Handler(), nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    found = names(Session(handler, module), lambda: module(torch.zeros(1, 2) + handler.preprocess(0)), apart=True)
    assert found == ["preprocess", "forward", "0 Linear", "1 ReLU"]
    assert "preprocess" not in vars(handler) and "forward" not in vars(module) and "forward" not in vars(module[0])


def test_a_forward_that_was_replaced_before_is_put_back():
    module = nn.ReLU()
    module.forward = replaced = lambda tensor: tensor
    names(Session(None, module), lambda: module(torch.zeros(1)))
    assert module.forward is replaced


def test_what_is_no_plain_method_stays():
    class Slow:
        async def preprocess(self):
            pass

    slow = Slow()
    with instead(slow, "preprocess", lambda own: None), instead(slow, "missing", lambda own: None):
        assert not vars(slow)


def test_a_mask_tells_what_is_padding():
    tokens, mask = torch.ones(2, 4, dtype=torch.int64), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    assert call_of(Tokens(), (), {"input_ids": tokens, "attention_mask": mask}) == Call(2, 8, 3)
    assert call_of(Tokens(), (tokens, mask), {}) == Call(2, 8, 3)
    assert call_of(Tokens(), ({"input_ids": tokens, "attention_mask": mask},), {}) == Call(2, 8, 3)


def test_torchs_own_padding_mask_is_true_for_padding():
    mask = torch.tensor([[False, True], [False, False]])
    assert call_of(Tokens(), (torch.ones(2, 2, dtype=torch.int64),), {"key_padding_mask": mask}) == Call(2, 4, 1)


def test_without_a_mask_the_models_padding_id_tells():
    module = Tokens()
    assert call_of(module, (torch.tensor([[5, 0, 0]]),), {}) == Call(1, 3, 0)
    module.config = type("Config", (), {"pad_token_id": 0})
    assert call_of(module, (torch.tensor([[5, 0, 0]]),), {}) == Call(1, 3, 2)


def test_pictures_have_no_tokens():
    assert call_of(nn.ReLU(), (torch.zeros(3, 1, 8, 8),), {}) == Call(3, 0, 0)


def test_what_has_no_parts_says_why():
    assert why_not_apart(nn.ReLU()) is None
    assert "exposes no torch module" in why_not_apart(None)
