"""ts.torch_handler.distributed.base_deepspeed_handler"""

from __future__ import annotations

import os
from typing import Any

from ts.torch_handler.base_handler import BaseHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook


class BaseDeepSpeedHandler(BaseHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """The base of handlers whose `initialize` loads the model and passes it through `get_ds_engine`."""

    def initialize(self, ctx: Any) -> None:
        """Sets `device` to the number of this process's GPU, and loads nothing."""
        self.device = int(os.environ.get("LOCAL_RANK", "0"))
