#!/bin/sh
# For a machine with a GPU: builds with CUDA, runs the oracle on the device, prints GB/s against a copy on the device,
# and stores everything as JSON. Without a GPU it says so and changes nothing.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
if ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
  echo "gpu_check: skipped, torch sees no CUDA device"
  exit 0
fi
CTCKIT_CUDA=1 CTCKIT_OPS=cuda "$python" benchmarks/gpu_check.py "${1:-gpu_check.json}"
