"""No framework for models: uvicorn and Starlette, the model called in the event loop, one request at a time."""

import uvicorn
import workloads
from asked import asked
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

WANTED = asked()
MODEL = workloads.load(WANTED.workload)


async def predict(request: Request) -> JSONResponse:
    (output,) = MODEL([(await request.json())["x"]])
    return JSONResponse(output)


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])


def main() -> None:
    options = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "warning"}
    target = app if WANTED.workers == 1 else "uvicorn_app:app"
    uvicorn.run(target, host="127.0.0.1", port=WANTED.port, workers=WANTED.workers, **options)


if __name__ == "__main__":
    main()
