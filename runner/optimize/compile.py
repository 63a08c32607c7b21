"""pt2.compile: the model compiled so that no request ever meets the compiler.

Rules of the room
1. What is declared may be reached in several ways (`compile_plan`): a package made ahead of time, loaded in a
   fraction of a second and shared by all workers; else torch.compile. The report names the ways that failed.
2. A compiled model counts only after every batch size that needs a compile has run, on the serving path, within
   `pt2.timeout`. Afterwards nothing compiles: what does not fit is answered by eager and counted.
3. What cannot work here is left out before the attempt and said: CUDA graphs off CUDA, freezing off CPU.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import torch

from archiver.config.model import ModelConfig
from runner.optimize.ahead_of_time import AheadOfTime, is_made
from runner.optimize.compile_plan import (
    AHEAD,
    CompilePlan,
    plans,
    usable_freezing,
    usable_mode,
    verified_sizes,
)
from runner.optimize.edge import Edge
from runner.optimize.just_in_time import JustInTime, dynamo
from runner.optimize.step import Change, NotApplicable, StepFailed, Wish


class CompileStep:
    """The module's own forward, compiled; conversions at the edge stay outside the graph.

    `kept`: the folder that packages are taken from and left in, None for nowhere. `ahead`: make a package also
    where torch.compile would do, as on GPUs, where a package has weights of its own.
    """

    name = "compile"
    needs_sample = True

    def __init__(self, kept: Path | None = None, *, ahead: bool = False) -> None:
        self._kept = kept
        self._ahead = ahead

    def declared(self, config: ModelConfig, device: torch.device) -> Wish[CompilePlan] | None:
        declared = config.pt2.compile
        if declared is None or not declared.enable:
            return None
        mode, mode_notes = usable_mode(declared, device.type)
        freezing, freezing_notes = usable_freezing(declared, device.type)
        ahead = self._ahead or device.type == "cpu" or is_made(self._kept)
        plan, *others = plans(declared, config, mode, freezing=freezing, device_type=device.type, ahead=ahead)
        return Wish(
            declared=declared.backend if declared.mode is None else f"{declared.backend}, mode {declared.mode}",
            plan=plan,
            others=tuple(others),
            sizes=verified_sizes(config.batch_size, plan),
            instead="eager",
            notes=(*mode_notes, *freezing_notes),
            required="pt2.fallback: fail" if config.pt2.fallback == "fail" else None,
        )

    def change(self, edge: Edge, plan: CompilePlan) -> Change:
        if _is_compiled(edge.module):
            raise NotApplicable("the handler compiled the model itself")
        if isinstance(edge.module, torch.jit.ScriptModule):
            raise NotApplicable("a TorchScript model is compiled already")
        if plan.shapes == AHEAD:
            return AheadOfTime(edge, plan, self._kept)
        check_backend(plan.backend)
        return JustInTime(edge, plan)


def _is_compiled(module: Any) -> bool:
    """Whether torch.compile made it; then dynamo is there already."""
    eval_frame = sys.modules.get("torch._dynamo.eval_frame")
    return eval_frame is not None and isinstance(module, eval_frame.OptimizedModule)


def check_backend(name: str) -> None:
    """Raises StepFailed for a backend that neither torch nor the user's code has registered."""
    known = dynamo().list_backends(exclude_tags=None)
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(dynamo().list_backends())}"
    raise StepFailed(f"no compile backend is called `{name}`; {hint}")
