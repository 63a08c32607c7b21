"""Which of the server's environment variables workers see."""

from __future__ import annotations

import pytest

from runner.pool.variables import Shown, cleaned, for_installers, looks_secret, without


@pytest.mark.parametrize(
    "name",
    [
        *(
            "PATH",
            "HOME",
            "LANG",
            "LC_ALL",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "TMPDIR",
            "XDG_CACHE_HOME",
            "http_proxy",
        ),
        *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR"),
        *("PYTORCH_CUDA_ALLOC_CONF", "HF_HOME", "TRANSFORMERS_OFFLINE", "TOKENIZERS_PARALLELISM", "SSL_CERT_FILE"),
    ],
)
def test_what_libraries_read_is_seen_in_a_sandbox_too(name: str) -> None:
    assert cleaned({name: "value"}, sandbox=True).variables == {name: "value"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_REGION", "x"),
            ("DATABASE_URL", "postgres://db"),
            ("MODEL_LANG", "de"),
        ),
        *(
            ("HF_TOKEN", "x"),
            ("TORCH_API_KEY", "x"),
            ("PYTHON_KEYRING_PASSWORD", "x"),
            ("PIP_INDEX_URL", "https://x"),
        ),
        *(("TF_VAR_password", "x"), ("https_proxy", "http://ann:word@proxy:3128")),
    ],
)
def test_secrets_and_what_no_library_reads_are_not(name: str, value: str) -> None:
    shown = cleaned({name: value, "PATH": "/bin"}, sandbox=True)
    assert (shown.variables, shown.hidden) == ({"PATH": "/bin"}, (name,))


def test_a_handler_finds_settings_of_its_own_but_no_secrets() -> None:
    environment = {"MODEL_LANG": "de", "DATABASE_URL": "postgres://ann:word@db", "MY_TOKEN": "1"}
    assert cleaned(environment) == Shown({"MODEL_LANG": "de"}, ("DATABASE_URL", "MY_TOKEN"))


def test_the_operator_passes_a_name_or_all_that_begin_alike() -> None:
    environment = {"HF_TOKEN": "1", "MODEL_A": "2", "MODEL_B": "3", "OTHER": "4"}
    assert cleaned(environment, ["HF_TOKEN", "MODEL_*"], sandbox=True).variables == {
        "HF_TOKEN": "1",
        "MODEL_A": "2",
        "MODEL_B": "3",
    }


def test_a_name_is_not_taken_for_a_part_of_another() -> None:
    assert not looks_secret("TOKENIZERS_PARALLELISM", "false")
    assert cleaned({"MODEL_A": "1"}, ["MODEL"], sandbox=True).variables == {}


def test_torchserves_way_hides_what_its_pattern_matches_as_a_whole() -> None:
    environment = {"AWS_SECRET": "1", "MODEL_A": "2"}
    assert without(environment, "").variables == environment
    assert without(environment, ".*SECRET|MODEL").variables == {"MODEL_A": "2"}


def test_installers_see_their_index_with_its_password() -> None:
    environment = {"PIP_INDEX_URL": "https://ann:word@index/simple", "AWS_SECRET": "1"}
    assert [*for_installers(environment)] == ["PIP_INDEX_URL"]
