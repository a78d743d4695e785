#!/usr/bin/env bash
# The main job: every line that begins with `step` runs a plain zv command that can be typed alone.
#
# RUNS=DIR chooses where the runs go. Interrupted anywhere, the same command continues: a training
# resumes at its last checkpoint or returns at once when finished; an evaluation newer than its
# checkpoint is kept. Seconds of each step are appended to $RUNS/times.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
help launch/quickstart.sh "$@"

RUNS=${RUNS:-runs/quickstart}
SUITE=configs/eval/quickstart.py
RECIPES=configs/quickstart.py
count=0
total=12

if ! command -v zv >/dev/null; then
  echo "The program zv is not installed here." >&2
  echo "  fix: make quickstart" >&2
  exit 1
fi
mkdir -p "$RUNS"

# step NAME COMMAND...: shows and runs the command; stops the job if it fails.
step() {
  local name=$1 began=$SECONDS status=0 known=0
  shift
  count=$((count + 1))
  printf '\n[%d/%d] %s\n$ %s\n' "$count" "$total" "$name" "$*"
  if [ -s "$RUNS/$name/results.json" ]; then known=1; fi
  "$@" || status=$?
  # A step that had been finished before took no time worth recording.
  if [ "$known" = 0 ] || [ "$status" != 0 ]; then
    printf '{"step": "%s", "seconds": %d, "exit_code": %d}\n' \
      "$name" $((SECONDS - began)) "$status" >>"$RUNS/times.jsonl"
  fi
  if [ "$status" != 0 ]; then
    printf '\nStopped in step %d of %d (%s). To continue: make quickstart' \
      "$count" "$total" "$name" >&2
    if [ "$RUNS" != runs/quickstart ]; then printf ' RUNS=%s' "$RUNS" >&2; fi
    printf '\n' >&2
    exit "$status"
  fi
}

# train NAME [WORKDIR...]: the recipe NAME, starting from the given workdirs under $RUNS.
train() {
  local name=$1 from=
  shift
  for source in "$@"; do from=${from:+$from,}$RUNS/$source; done
  step "$name" zv train --config "$RECIPES:$name" --workdir "$RUNS/$name" \
    ${from:+"--config.init_from=$from"}
}

# evaluate NAME PART: the part of the suite for the model trained in $RUNS/NAME.
evaluate() {
  local out=$RUNS/eval_$1
  # An older result would pass for the new one, and older answers would be continued.
  if [ ! -s "$out/run.json" ] ||
    [ -n "$(find "$RUNS/$1/checkpoints" "$SUITE" -newer "$out/run.json" -print 2>/dev/null)" ]; then
    rm -rf "$out"
  elif [ -s "$out/results.json" ]; then
    count=$((count + 1))
    printf '\n[%d/%d] eval_%s: finished before\n' "$count" "$total" "$1"
    return
  fi
  step "eval_$1" zv eval --checkpoint "$RUNS/$1" --suite "$SUITE:$2" --workdir "$out"
}

step data zv data prepare zv_openmoji
train language
train vision language
train stage0 vision
train stage1_base language stage0
train stage1_chat language stage0
train stage2_base stage1_base
train stage2_chat stage1_chat
evaluate stage0 retrieval
evaluate stage2_base language
evaluate stage2_chat language
step report zv report --runs "$RUNS"

printf '\nFinished. Open %s in a browser.\n' "$(cd "$RUNS" && pwd)/report.html"
