#!/bin/sh
# The .proto files beside this script → ../services.binpb, what the server reads: compile.sh [OUTPUT]
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m grpc_tools.protoc -I. --include_imports --descriptor_set_out="${1:-../services.binpb}" \
  health.proto open_inference.proto torchserve_inference.proto torchserve_management.proto
