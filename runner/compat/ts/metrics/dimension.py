"""ts.metrics.dimension"""

from runner.handlers.metrics import Dimension

__all__ = ["Dimension"]
