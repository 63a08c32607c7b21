"""Which of the server's environment variables its workers see: all but what looks like a secret, as handlers read
settings of their own there; in a sandbox those that Python, torch and their libraries read.

The operator may pass more. A name alone decides, but for addresses that hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

_SYSTEM = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "TERM", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*"),
    *("TMPDIR", "TEMP", "TMP", "LD_*", "DYLD_*", "MALLOC_*", "GLIBC_TUNABLES", "NO_COLOR", "COLUMNS"),
)
_PYTHON = ("PYTHON*", "VIRTUAL_ENV", "CONDA_*", "COVERAGE_*")
_LIBRARIES = (
    *("TORCH*", "PYTORCH_*", "ATEN_*", "C10_*", "TRITON_*", "INDUCTOR_*", "FUNCTORCH_*", "ENABLE_TORCH_PROFILER"),
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "NUMEXPR_*", "VECLIB_*", "DNNL_*", "ONEDNN_*"),
    *("CUDA_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_*", "NCCL_*", "GLOO_*", "UCX_*", "ROCM_*", "ROCR_*"),
    *("HIP_*", "HSA_*", "MIOPEN_*", "AMD_*", "GPU_*", "ONEAPI_*", "ZE_*", "SYCL_*"),
    *("HF_*", "HUGGINGFACE_*", "TRANSFORMERS_*", "DIFFUSERS_*", "ACCELERATE_*", "DATASETS_*", "TOKENIZERS_*"),
    *("SENTENCE_TRANSFORMERS_*", "SENTENCEPIECE_*", "NLTK_DATA", "TIKTOKEN_CACHE_DIR", "NUMBA_*", "OPENCV_*"),
    "MPLCONFIGDIR",
)
_COMPILERS = (
    *("CC", "CXX", "CUDAHOSTCXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH"),
    *("CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
)
_NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
_SHOWN = (*_SYSTEM, *_PYTHON, *_LIBRARIES, *_COMPILERS, *_NETWORK)
#: Installers of requirements read these as well, with the passwords of package indexes.
INSTALLERS = ("PIP_*", "NETRC")

_SECRET_WORDS = frozenset(
    {
        *("TOKEN", "TOKENS", "SECRET", "SECRETS", "KEY", "KEYS", "APIKEY", "PASSWORD", "PASSWORDS", "PASSWD", "PASS"),
        *("PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "AUTH", "PRIVATE"),
    }
)
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/@\s]*:[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Shown:
    """`variables`: what workers see; `hidden`: names of what they do not."""

    variables: Mapping[str, str]
    hidden: tuple[str, ...]


def cleaned(environment: Mapping[str, str], passed: Iterable[str] = (), *, sandbox: bool = False) -> Shown:
    """What workers may see, and what the operator passes: names, in which * stands for anything."""
    wanted = (*passed,)
    known = _SHOWN if sandbox else ("*",)
    shown = {
        name: value
        for name, value in environment.items()
        if _matches(name, wanted) or (_matches(name, known) and not looks_secret(name, value))
    }
    return _told(environment, shown)


def without(environment: Mapping[str, str], pattern: str) -> Shown:
    """Everything but the names that the regular expression matches: TorchServe's blacklist_env_vars."""
    shown = {name: value for name, value in environment.items() if not (pattern and re.fullmatch(pattern, name))}
    return _told(environment, shown)


def looks_secret(name: str, value: str) -> bool:
    """Whether the name speaks of a secret, or the value is an address with a password."""
    return not _SECRET_WORDS.isdisjoint(name.upper().split("_")) or bool(_PASSWORD_IN_ADDRESS.search(value))


def for_installers(environment: Mapping[str, str]) -> dict[str, str]:
    """What installers need beyond what workers see."""
    return {name: value for name, value in environment.items() if _matches(name, INSTALLERS)}


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _told(environment: Mapping[str, str], shown: Mapping[str, str]) -> Shown:
    return Shown(shown, tuple(sorted(name for name in environment if name not in shown)))
