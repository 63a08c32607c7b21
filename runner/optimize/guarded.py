"""Compiled code while it serves: a failure of it costs one eager call, not a request."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from runner.optimize.edge import Edge, Forward

_log = logging.getLogger("archive.optimize")

#: Consecutive failures of compiled code, each cured by eager, after which eager stays.
STRIKES = 3


class Unfit(Exception):
    """Nothing compiled fits this call; the message says what is different."""


class Guarded:
    """Compiled code with eager behind it. One failure is cured by one eager call; `STRIKES` in a row, for good.

    `failures` counts calls that only eager could answer, `recompiles` calls that nothing compiled fits: another
    compile would be needed, eager answers. A call that eager refuses as well is the input's fault and raises
    eager's error.
    """

    def __init__(self, compiled: Forward, eager: Forward) -> None:
        self._compiled = compiled
        self._eager = eager
        self._row = 0
        self.failures = 0
        self.recompiles = 0
        self.eager_only = False
        self.last_error: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.eager_only:
            return self._eager(*args, **kwargs)
        try:
            output = self._compiled(*args, **kwargs)
        except Unfit as unfit:
            return self._unfit(unfit, args, kwargs)
        except Exception as error:  # noqa: BLE001 - generated code may raise anything; eager decides whose fault it is
            return self._cure(error, args, kwargs)
        self._row = 0
        return output

    def _unfit(self, unfit: Unfit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.recompiles += 1
        if self.recompiles == 1:
            _log.warning("nothing compiled fits a call, eager answers such calls: %s", unfit)
        return self._eager(*args, **kwargs)

    def _cure(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = self._eager(*args, **kwargs)
        self.failures += 1
        self._row += 1
        self.last_error = f"{type(error).__name__}: {error}"
        self.eager_only = self._row >= STRIKES
        for_good = ", and does so from now on" if self.eager_only else ""
        _log.warning("compiled code failed, eager answered%s: %s", for_good, self.last_error)
        return output


def guard_of(module: nn.Module) -> Guarded | None:
    """The live guard of a compiled module: its failure counts. None when the module runs eager by decision."""
    edge = Edge.of(module)
    return edge.inner if edge is not None and isinstance(edge.inner, Guarded) else None
