#!/usr/bin/env bash
# Trains on a TPU VM slice: makes it or takes the one there is, copies the code, runs on all workers.
#
#   launch/tpu_vm.sh --name=zv --zone=us-west4-a --type=v5litepod-256 -- \
#     train --config=configs/stage2.py:chat,v5e-256 --workdir=/gcs/bucket/stage2
#
# --workdir is a folder that all workers see, such as a mounted bucket.
# --version=...       image of the VM (default: the one for the type)
# --project=...       default: gcloud's
# --queued            ask through a queued resource and wait for it
# --spot              cheaper, may be taken away; it is then made anew, --restarts times (default 20)
# --env=NAME          hands on the variable NAME of this shell, unseen; may be given again
# --logs=DIR          where the workers' logs are copied to (default runs/logs/NAME)
# --delete            remove the slice at the end
# --dry_run           print what would run, and run nothing
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh

name='' zone='' type='' version='' project='' logs='' queued='' spot='' delete='' dry_run=''
restarts=20 envs=()
arguments=("$@")
options name zone type version project logs env restarts 'queued!' 'spot!' 'delete!'
required name zone type
number restarts
[[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  fail "--name=$name is no name for a TPU" "small letters, digits and hyphens, at most 40"
python3 launch/xla_flags.py "$type" >/dev/null || exit 2
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
  git archive --format=tar.gz -o "$work/code.tar.gz" HEAD
  secrets "$work/secrets.sh"
  run gcloud compute tpus tpu-vm scp "$work/code.tar.gz" "$work/secrets.sh" "$name:" \
    "${place[@]}" --worker=all
  on_all 'mkdir -p zv && tar xzf code.tar.gz -C zv && cd zv && launch/environment.sh .venv tpu'
}

# Every worker runs the same; the log stays there and comes here.
train() {
  # shellcheck disable=SC2016  # expands on the worker
  on_all "set -o pipefail; cd zv && . ~/secrets.sh && rm ~/secrets.sh && eval \"\$(python3 launch/xla_flags.py $(quoted "$type"))\" \
&& .venv/bin/zv $(quoted "${command[@]}")--multihost 2>&1 | tee -a ~/zv.log"
}

fetch_logs() {
  run mkdir -p "$logs"
  run gcloud compute tpus tpu-vm scp "$name:zv.log" "$logs/" "${place[@]}" --worker=all || true
}

for ((try = 0; ; try++)); do
  status=0
  make_slice
  copy_code && train || status=$?
  fetch_logs
  if [ "$status" = 0 ]; then break; fi
  now=$(state)
  # Again only where trying again can help: it saved and asks for it, or the slice was taken away.
  if ! again "$status" && [ "$now" = READY ]; then
    echo "The training failed ($status); its log: $logs/zv.log" >&2
    exit "$status"
  fi
  if [ "$try" -ge "$restarts" ]; then
    echo "Stopped after $restarts restarts." >&2
    exit "$status"
  fi
  echo "Restart $((try + 1)) of $restarts (exit code $status, slice ${now:-gone})"
done
if [ -n "$delete" ]; then remove_slice; fi
