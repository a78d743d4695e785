#!/usr/bin/env bash
# Makes or renews a virtual environment with this package: environment.sh DIR [EXTRA]
#
# Versions come from the lock file of the Python version. DIR/.complete is written last and says
# what was installed: equal, nothing is done; missing (an interrupted install), all is done anew.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
extra=${2:-}
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  if "$candidate" -c "$new_enough" 2>/dev/null; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  echo "No Python 3.11 or newer was found as: ${PYTHON:-python3, python3.13, python3.12, python3.11}" >&2
  echo "  fix: install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
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
