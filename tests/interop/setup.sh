#!/bin/sh
# The real TorchServe, its archivers, the clients of Triton and KServe and model-signing, for tests/interop:
# setup.sh [FOLDER]   (default .venv-interop)
# Runs once; a folder that is complete is left as it is. Java 11 or newer must be on the machine.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${1:-$root/.venv-interop}
if [ -e "$venv/complete" ]; then exit 0; fi
"${PYTHON:-python3}" -m venv "$venv"
# torch first and with our constraint, so that what follows finds it there.
"$venv/bin/pip" install --quiet -c "$root/constraints.txt" torch
"$venv/bin/pip" install --quiet -c "$root/constraints.txt" \
  torchserve==0.12.0 torch-model-archiver==0.12.0 torch-workflow-archiver numpy packaging pyyaml setuptools \
  'tritonclient[http,grpc]' ml_dtypes grpcio-tools
# KServe's client wants other versions of what the others bring.
"${PYTHON:-python3}" -m venv "$venv/kserve"
"$venv/kserve/bin/pip" install --quiet kserve
# The official tool for signatures has needs of its own; its release 1.1.1 forgets to ask for pyOpenSSL.
"${PYTHON:-python3}" -m venv "$venv/signing"
"$venv/signing/bin/pip" install --quiet model-signing==1.1.1 pyOpenSSL
touch "$venv/complete"
