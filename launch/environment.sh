#!/usr/bin/env bash
# Makes or renews a virtual environment with this package: environment.sh DIR [EXTRA]
#
# Versions come from the lock file of the Python version. DIR/.complete is written last and says
# what was installed: equal, nothing is done; missing (an interrupted install), all is done anew.
# Jobs that share the folder wait for the one that installs.
#
# PYTHON=/path/to/python3.12    instead of the first of python3, python3.13, ... that is 3.11 or newer
# FETCH_PYTHON=1                where there is none, fetch Python 3.12 with uv (https://docs.astral.sh/uv)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
help launch/environment.sh "$@"
[ $# -gt 0 ] || fail "no folder is given" "launch/environment.sh .venv"

venv=$1
extra=${2:-}
# Debian and Ubuntu leave out of their Python what makes a virtual environment.
fits='import sys, ensurepip; sys.exit(sys.version_info < (3, 11))'
candidates=${PYTHON:-python3 python3.13 python3.12 python3.11}

# The first candidate that fits.
find_python() {
  local candidate
  for candidate in $candidates; do
    if "$candidate" -c "$fits" 2>/dev/null; then echo "$candidate" && return; fi
  done
}

# Python 3.12 in the home of this user; system packages stay as they are.
fetch_python() {
  local uv=uv
  if ! command -v uv >/dev/null; then
    python3 -m pip install --quiet --user uv >&2
    uv=$(python3 -m site --user-base)/bin/uv
  fi
  "$uv" python install --quiet 3.12 >&2
  "$uv" python find --managed-python 3.12
}

if command -v flock >/dev/null; then  # everywhere on Linux
  exec 9>"$venv.lock"
  flock 9
fi
python=$(find_python)
if [ -z "$python" ] && [ "${FETCH_PYTHON:-}" = 1 ]; then
  echo "There is no Python 3.11 or newer here as: $candidates; fetching 3.12 with uv ..."
  python=$(fetch_python)
fi
if [ -z "$python" ]; then
  echo "No Python 3.11 or newer that makes virtual environments was found as: $candidates" >&2
  echo "  fix: install one (Debian, Ubuntu: with its package python3-venv), or name it:" >&2
  echo "       PYTHON=/path/to/python3.12, before make or this script" >&2
  exit 1
fi

version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}{sys.version_info[1]}")')
lock=requirements-py$version.lock
extra_lock=requirements-$extra.lock
interpreter="python $version in $PWD/$venv"
if [ -f "$lock" ]; then
  locks=("$lock")
  if [ -f "$extra_lock" ]; then locks+=("$extra_lock"); fi
  content=$(cat setup.py "${locks[@]}" | cksum)
else
  content=$(cksum <setup.py)
fi
wanted="$interpreter
$content $extra"
stamp=$venv/.complete

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi
if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$interpreter" ]; then
  rm "$stamp"
else
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi

pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
if [ -f "$lock" ]; then
  echo "Installing the packages of $lock into $venv (once; it takes a few minutes) ..."
  "${pip[@]}" install --require-hashes -r "$lock"
  # The lock names everything the package needs, so that nothing is resolved again.
  "${pip[@]}" install --no-deps --no-build-isolation -e .
  if [ -f "$extra_lock" ]; then
    "${pip[@]}" install --require-hashes -r "$extra_lock"
  elif [ -n "$extra" ]; then
    # The packages of other extras have no hashes; those of the lock keep their versions.
    sed -n 's/^\([A-Za-z0-9_.-]*==[^ ]*\).*/\1/p' "$lock" >"$venv/versions.txt"
    "${pip[@]}" install --no-build-isolation -c "$venv/versions.txt" -e ".[$extra]"
  fi
else
  echo "There is no $lock: installing the newest versions that fit into $venv ..."
  "${pip[@]}" install -e ".[dev${extra:+,$extra}]"
fi
printf '%s\n' "$wanted" >"$stamp"
echo "Installed: $venv"
