"""Keys: what each opens, when they end, how they are renewed, and what a bad file means."""

from __future__ import annotations

import json
import stat

import pytest

from runner.frontend.tokens import KeyFileError, Tokens, purpose_of


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "key_file.json"


@pytest.fixture
def tokens(file, clock):
    made = Tokens(file, clock)
    made.create()
    return made


def keys(file):
    return {kind: entry["key"] for kind, entry in json.loads(file.read_text()).items()}


def bearer(key):
    return f"Bearer {key}"


@pytest.mark.parametrize(
    ("method", "path", "purpose"),
    [
        ("GET", "/ping", None),
        ("GET", "/livez", None),
        ("GET", "/metrics", None),
        ("OPTIONS", "/", None),
        ("OPTIONS", "/predictions/m", "inference"),
        ("OPTIONS", "/models/m", "management"),
        ("POST", "/predictions/m", "inference"),
        ("POST", "/models/m/invoke", "inference"),
        ("POST", "/v2/models/m/infer", "inference"),
        ("POST", "/m/predict", "inference"),
        ("POST", "/invocations", "inference"),
        ("POST", "/wfpredict/w", "inference"),
        ("POST", "/workflows", "management"),
        ("DELETE", "/workflows/w", "management"),
        ("GET", "/models", "management"),
        ("POST", "/models", "management"),
        ("DELETE", "/models/m/invoke", "management"),
        ("PUT", "/models/m/2.0/set-default", "management"),
        ("GET", "/token", "API"),
    ],
)
def test_every_route_needs_the_key_of_its_purpose(method, path, purpose):
    assert purpose_of(method, path) == purpose


def test_a_key_opens_what_it_is_for_and_nothing_else(tokens, file):
    key = keys(file)
    assert tokens.allows("POST", "/predictions/m", bearer(key["inference"]))
    assert tokens.allows("GET", "/models", bearer(key["management"]))
    for wrong in (key["management"], key["API"], "", "x", "ключ"):
        assert not tokens.allows("POST", "/predictions/m", bearer(wrong))
    assert not tokens.allows("GET", "/models", bearer(key["inference"]))


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "{key}"])
def test_a_key_that_is_not_given_as_a_bearer_is_none(tokens, file, header):
    assert not tokens.allows("GET", "/models", header.format(key=keys(file)["management"]))


def test_only_the_owner_can_read_the_file(tokens, file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_end_and_the_api_key_renews_them(tokens, file, clock):
    old = keys(file)
    clock.now += 3601
    assert not tokens.allows("POST", "/predictions/m", bearer(old["inference"]))
    assert tokens.allows("GET", "/token", bearer(old["API"]))
    new = tokens.renew("inference")["inference"]["key"]
    assert new == keys(file)["inference"] != old["inference"]
    assert tokens.allows("POST", "/predictions/m", bearer(new))
    assert keys(file)["management"] == old["management"]
    with pytest.raises(KeyError):
        tokens.renew("API")


def test_a_file_of_torchserve_is_read(file, clock):
    plain = {
        "management": {"key": "mm", "expiration time": "1970-01-12T14:46:40.123456789Z"},
        "inference": {"key": "ii", "expiration time": "1970-01-12T13:46:39Z"},
        "API": {"key": "aa"},
    }
    file.write_text(json.dumps(plain))
    tokens = Tokens(file, clock)
    tokens.create()
    assert tokens.allows("GET", "/models", "Bearer mm")
    assert not tokens.allows("POST", "/predictions/m", "Bearer ii")  # over since a second


def test_keys_that_the_operator_changes_count_at_once(tokens, file):
    plain = json.loads(file.read_text())
    plain["inference"]["key"] = "changed"
    other = file.with_name("other")
    other.write_text(json.dumps(plain))
    other.replace(file)
    assert tokens.allows("POST", "/predictions/m", "Bearer changed")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"management": {"key": ""}, "inference": {}, "API": {}}'])
def test_a_damaged_file_refuses_everything_and_stops_a_start(tokens, file, clock, content, caplog):
    file.with_name("other").write_text(content)
    file.with_name("other").replace(file)
    assert not tokens.allows("GET", "/models", "Bearer x")
    assert "refused" in caplog.text
    with pytest.raises(KeyFileError, match="cannot be used"):
        Tokens(file, clock).create()


def test_a_folder_that_cannot_be_written_is_told(tmp_path, clock):
    with pytest.raises(KeyFileError, match="cannot write the key file"):
        Tokens(tmp_path / "none" / "keys.json", clock).create()
