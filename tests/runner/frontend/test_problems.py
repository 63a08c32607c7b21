"""What a client reads when a row got no reply."""

from __future__ import annotations

import pytest

from runner.frontend.problems import of_failure
from runner.scheduling.job import Cause, Failure


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (Failure(Cause.RAISED, 503, "ValueError", "Prediction failed"), 503, "InternalServerException"),
        (Failure(Cause.RAISED, 400, "BadRequest", "no picture"), 400, "BadRequestException"),
        (Failure(Cause.HUNG), 504, "InternalServerException"),
        (Failure(Cause.EXPIRED), 504, "RequestTimeoutException"),
        (Failure(Cause.STOPPED), 503, "ServiceUnavailableException"),
        (Failure(Cause.NO_WORKER), 503, "ServiceUnavailableException"),
    ],
)
def test_every_cause_has_its_status_and_type(failure, status, kind):
    answer = of_failure(failure, "m", "none is ready")
    assert (answer.status, answer.type) == (status, kind)
