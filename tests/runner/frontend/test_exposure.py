"""Addresses beyond this machine need keys, or a word."""

from __future__ import annotations

import logging

import pytest

from archiver.errors import UsageError
from runner.frontend import exposure
from runner.frontend.listener import LOCAL, Address

ANYWHERE = Address("0.0.0.0", 8080)
ELSEWHERE = [ANYWHERE, Address("::", 8080), Address("192.168.1.7", 8080), Address("host.example", 8080), Address("")]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_an_address_that_strangers_reach_is_refused_without_keys(address: Address) -> None:
    with pytest.raises(UsageError, match="there are no keys") as refused:
        exposure.check([LOCAL, address], has_keys=False, insecure=False)
    assert refused.value.exit_code == 2
    assert "--insecure" in refused.value.hint


def test_with_keys_or_on_this_machine_nobody_is_bothered(caplog: pytest.LogCaptureFixture) -> None:
    exposure.check(ELSEWHERE, has_keys=True, insecure=False)
    local = [LOCAL, Address("::1", 1), Address("localhost", 1), Address(path="/tmp/s"), Address("127.0.0.2", 1)]
    exposure.check(local, has_keys=False, insecure=False)
    assert not caplog.records


def test_who_insists_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        exposure.check([LOCAL, ANYWHERE], has_keys=False, insecure=True)
    assert [record.getMessage() for record in caplog.records] == [
        "listening on http://0.0.0.0:8080 without authentication: whoever reaches it can use it"
    ]
