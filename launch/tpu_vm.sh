#!/usr/bin/env bash
# Trains on a TPU VM slice: makes it or takes the one there is, copies the code, runs on all workers.
# Behind -- come train, eval, data prepare or bmmic with their arguments; all but train take one host.
#
#   launch/tpu_vm.sh --name=zv --zone=us-west4-a --type=v5litepod-256 -- \
#     train --config=configs/stage2.py:chat,v5e-256 --workdir=gs://bucket/stage2
#
# --workdir is a bucket, or a folder that all workers see. The code is that of this folder, with what
# is not committed yet.
# --version=...       image of the VM (default: the one for the type)
# --python=PATH       Python on the workers, 3.11 or newer (default: the one there, or else 3.12,
#                     which uv fetches: the images of v4, v5e and v6e have 3.10)
# --project=...       default: gcloud's
# --queued            ask through a queued resource and wait for it
# --spot              cheaper, may be taken away; it is then made anew, --restarts times (default 20)
# --env=NAME          hands on the variable NAME of this shell, unseen; may be given again
# --logs=DIR          where the workers' logs are copied to (default runs/logs/NAME)
# --delete            remove the slice at the end
# --dry_run           check the arguments, print what would run, and run nothing
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
help launch/tpu_vm.sh "$@"

name='' zone='' type='' version='' python='' project='' logs='' queued='' spot='' delete='' dry_run=''
restarts=20 envs=()
arguments=("$@")
options name zone type version python project logs env restarts 'queued!' 'spot!' 'delete!'
required name zone type
number restarts
job_name "$name" "a TPU"
python3 launch/xla_flags.py "$type" >/dev/null || exit 2
one_host "$(hosts_of "$type")" "--type=v5litepod-8, or another type of one host"
if [ -z "$version" ]; then
  case $type in
    v4-*) version=tpu-ubuntu2204-base ;;
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    *) fail "no image is known for $type" "--version=..." ;;
  esac
fi
logs=${logs:-runs/logs/$name}
place=(--zone="$zone" ${project:+--project="$project"})
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

state() {
  gcloud compute tpus tpu-vm describe "$name" "${place[@]}" --format='value(state)' 2>/dev/null ||
    true
}

# The slice, ready to use; what is broken or was taken away is removed first.
make_slice() {
  local now=''
  if [ "$dry_run" != 1 ]; then now=$(state); fi
  case $now in
    READY) return ;;
    '') ;;
    *) remove_slice ;;
  esac
  if [ -n "$queued" ]; then
    run gcloud compute tpus queued-resources create "$name" --node-id="$name" "${place[@]}" \
      --accelerator-type="$type" --runtime-version="$version" ${spot:+--spot}
    until [ "$dry_run" = 1 ] || [ "$(state)" = READY ]; do
      echo "waiting for the slice $name ..."
      sleep 30
    done
  else
    run gcloud compute tpus tpu-vm create "$name" "${place[@]}" \
      --accelerator-type="$type" --version="$version" ${spot:+--spot}
  fi
}

remove_slice() {
  if [ -n "$queued" ]; then
    run gcloud compute tpus queued-resources delete "$name" "${place[@]}" --force --quiet
  else
    run gcloud compute tpus tpu-vm delete "$name" "${place[@]}" --quiet
  fi
}

on_all() { run gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=all --command="$1"; }

copy_code() {
  say_code
  code_files | tar -czf "$work/code.tar.gz" --null --files-from=-
  secrets "$work/secrets.sh"
  run gcloud compute tpus tpu-vm scp "$work/code.tar.gz" "$work/secrets.sh" "$name:" \
    "${place[@]}" --worker=all
  on_all "mkdir -p zv && tar xzf code.tar.gz -C zv && cd zv \
&& FETCH_PYTHON=1 ${python:+PYTHON=$(quoted "$python")}launch/environment.sh .venv-tpu tpu,gcs"
}

# Every worker runs the same; the log stays there and comes here.
start() {
  # shellcheck disable=SC2016  # expands on the worker
  on_all "set -o pipefail; cd zv && . ~/secrets.sh && rm ~/secrets.sh && eval \"\$(python3 launch/xla_flags.py $(quoted "$type"))\" \
&& .venv-tpu/bin/zv $(program) 2>&1 | tee -a ~/zv.log"
}

fetch_logs() {
  run mkdir -p "$logs"
  run gcloud compute tpus tpu-vm scp "$name:zv.log" "$logs/" "${place[@]}" --worker=all || true
}

for ((try = 0; ; try++)); do
  status=0
  make_slice
  copy_code && start || status=$?
  fetch_logs
  if [ "$status" = 0 ]; then break; fi
  now=$(state)
  # Again only where trying again can help: it saved and asks for it, or the slice was taken away.
  if ! again "$status" && [ "$now" = READY ]; then
    echo "The command failed ($status); its log: $logs/zv.log" >&2
    exit "$status"
  fi
  if [ "$try" -ge "$restarts" ]; then
    echo "Stopped after $restarts restarts." >&2
    exit "$status"
  fi
  echo "Restart $((try + 1)) of $restarts (exit code $status, slice ${now:-gone})"
done
if [ -n "$delete" ]; then remove_slice; fi
