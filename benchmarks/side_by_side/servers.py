"""The servers, one row each: what pip installs, which app starts it, what a request looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side.forms import LISTED, PLAIN, TENSORS, Form

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Server:
    """`app`: the file in apps/ that starts it, in the foreground. `path`: where a request is posted.

    `package`: whose version the report names. `told`: what a reader must know of how it is set up. `needs`: a program
    that must be there beside Python.
    """

    name: str
    title: str
    package: str
    requirements: tuple[str, ...]
    app: str
    path: str
    form: Form
    told: str
    needs: str | None = None


OURS = "torch-archive"
#: Also where the offline loop runs.
PLAIN_APP = Server(
    name="uvicorn",
    title="plain uvicorn app",
    package="uvicorn",
    requirements=("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "starlette==1.10.0"),
    app="uvicorn_app.py",
    path="/predict",
    form=PLAIN,
    told="Starlette, the model called in the event loop; no batching, no worker process",
)

SERVERS = (
    Server(
        name=OURS,
        title="torch-archive",
        package="torch-archive",
        requirements=("--editable", f"{PROJECT}[serve]"),
        app="torch_archive_app.py",
        path="/predictions/model",
        form=PLAIN,
        told="the archive and handler of TorchServe, packed by archive create; greedy batches, its default",
    ),
    Server(
        name="torchserve",
        title="TorchServe",
        package="torchserve",
        requirements=("torchserve==0.12.0", "torch-model-archiver==0.12.0"),
        app="torchserve_app.py",
        path="/predictions/model",
        form=PLAIN,
        told="access and metric logs off, which makes it faster than its defaults",
        needs="java",
    ),
    Server(
        name="litserve",
        title="LitServe",
        package="litserve",
        requirements=("litserve==0.2.19",),
        app="litserve_app.py",
        path="/predict",
        form=PLAIN,
        told="its defaults beside batch size and timeout",
    ),
    Server(
        name="bentoml",
        title="BentoML",
        package="bentoml",
        requirements=("bentoml==1.4.40",),
        app="bentoml_app.py",
        path="/predict",
        form=LISTED,
        told="no maximum delay, its dispatcher learns how long to wait; a request is a batch of one",
    ),
    Server(
        name="ray-serve",
        title="Ray Serve",
        package="ray",
        requirements=("ray[serve]==2.60.0",),
        app="ray_serve_app.py",
        path="/predict",
        form=PLAIN,
        told="128 requests under way per replica, more than its default, which would starve the batches",
    ),
    Server(
        name="mlserver",
        title="MLServer",
        package="mlserver",
        requirements=("mlserver==1.7.1", "uvloop==0.21.0"),  # its workers do not start with a newer uvloop
        app="mlserver_app.py",
        path="/v2/models/model/infer",
        form=TENSORS,
        told="Open Inference Protocol in JSON; inference in worker processes",
    ),
    Server(
        name="pytriton",
        title="PyTriton",
        package="nvidia-pytriton",
        requirements=("nvidia-pytriton==0.7.0",),
        app="pytriton_app.py",
        path="/v2/models/model/infer",
        form=TENSORS,
        told="Triton with a Python backend; Open Inference Protocol in JSON",
    ),
    PLAIN_APP,
)


def named(name: str) -> Server:
    """Raises KeyError."""
    return {server.name: server for server in SERVERS}[name]
