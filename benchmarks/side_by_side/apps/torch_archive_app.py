"""torch-archive: pack, serve."""

import os
import subprocess
import sys

import archive_config
from asked import asked

ARCHIVE = [sys.executable, "-m", "archiver"]


def main() -> None:
    wanted = asked()
    archive_config.write(wanted)
    subprocess.run([*ARCHIVE, "create", *archive_config.FLAGS], check=True)
    one_thread = ["--set", "threads.intraOp=1"]
    os.execv(sys.executable, [*ARCHIVE, "serve", "model.mar", "--port", str(wanted.port), *one_thread])


if __name__ == "__main__":
    main()
