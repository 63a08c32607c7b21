from __future__ import annotations

from dataclasses import replace

import torch

from runner.optimize.pipeline import optimise
from runner.optimize.report import Status
from tests.runner.optimize.models import CPU, PLAIN, conv, scores

CHANNELS_LAST = replace(PLAIN, memory_format="channels_last")


def test_convolutions_get_weights_and_inputs_in_channels_last():
    handler = conv()
    row = optimise(handler, CHANNELS_LAST, CPU).step("memoryFormat")
    handler.answer(2)
    assert (row.status, row.applied) == (Status.APPLIED, "channels_last (1 weight)")
    assert handler.model.seen_channels_last
    assert handler.model.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_model_without_4d_weights_is_left_alone_and_said_so():
    row = optimise(scores(), CHANNELS_LAST, CPU).step("memoryFormat")
    assert (row.status, row.reason) == (Status.NOT_APPLICABLE, "the model has no 4-d weights")


def test_contiguous_undoes_what_was_saved_as_channels_last():
    handler = conv()
    handler.model.to(memory_format=torch.channels_last)
    row = optimise(handler, replace(PLAIN, memory_format="contiguous"), CPU).step("memoryFormat")
    assert row.applied == "contiguous (1 weight)"
    assert handler.model.conv.weight.is_contiguous()


def test_contiguous_weights_need_nothing():
    row = optimise(conv(), replace(PLAIN, memory_format="contiguous"), CPU).step("memoryFormat")
    assert (row.status, row.reason) == (Status.APPLIED, "as loaded")
