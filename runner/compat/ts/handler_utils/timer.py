"""ts.handler_utils.timer"""

from runner.handlers.timing import timed

__all__ = ["timed"]
