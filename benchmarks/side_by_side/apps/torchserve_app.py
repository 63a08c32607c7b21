"""TorchServe 0.12: pack, write its settings, serve. Its access and metric logs are off: they cost it a quarter."""

import os
import subprocess
import sys
from pathlib import Path

import archive_config
from asked import asked

BIN = Path(sys.executable).parent
SETTINGS = """\
inference_address=http://127.0.0.1:{0}
management_address=http://127.0.0.1:{1}
metrics_address=http://127.0.0.1:{2}
grpc_inference_address=127.0.0.1
grpc_management_address=127.0.0.1
grpc_inference_port={3}
grpc_management_port={4}
job_queue_size=1000
"""
LOGGING = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %c %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def main() -> None:
    wanted = asked()
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"  # its workers are started as `python`
    os.environ["TMPDIR"] = str(Path.cwd())  # there it leaves its number; two of them would not start side by side
    archive_config.write(wanted)
    subprocess.run([str(BIN / "torch-model-archiver"), *archive_config.FLAGS], check=True)
    Path("config.properties").write_text(SETTINGS.format(*range(wanted.port, wanted.port + 5)))
    Path("log4j2.xml").write_text(LOGGING)
    files = ["--model-store", ".", "--models", "model=model.mar", "--ts-config", "config.properties"]
    switches = ["--start", "--foreground", "--ncs", "--disable-token-auth", "--log-config", "log4j2.xml"]
    os.execv(BIN / "torchserve", ["torchserve", *switches, *files])


if __name__ == "__main__":
    main()
