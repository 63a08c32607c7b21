"""gRPC, beside HTTP and on the same models: TorchServe's services, the Open Inference Protocol, health.

Imported only where the operator asks for a gRPC address; needs the extra `[grpc]`.
"""

from __future__ import annotations

import os

#: Of every process that the server starts, gRPC would say in the log that it cannot prepare it for gRPC; none of them
#: needs that. It reads the switch when it is imported, and workers are to have their own.
_SWITCH = "GRPC_ENABLE_FORK_SUPPORT"

if _SWITCH in os.environ:
    import grpc
else:
    os.environ[_SWITCH] = "0"
    import grpc  # noqa: F401

    del os.environ[_SWITCH]
