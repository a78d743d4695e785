#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster: a JobSet, made and watched by XPK (pip install xpk).
#
#   launch/gke.sh --name=zv-stage2 --cluster=C --zone=us-west4-a --type=v5litepod-256 \
#     --image=REGISTRY/zv:tag -- \
#     train --config=configs/stage2.py:chat,v5e-256 --workdir=/gcs/bucket/stage2
#
# --slices=1          slices of the job; set --config.mesh.slices to the same number
# --project=...       default: gcloud's
# --restarts=20       how often the JobSet starts again after a slice was taken away or code 75
# --env=NAME          hands on the variable NAME of this shell, unseen; may be given again
# --dry_run           print what would run, and run nothing
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh

name='' cluster='' zone='' type='' image='' project='' dry_run='' slices=1 restarts=20 envs=()
arguments=("$@")
options name cluster zone type image project slices restarts env
required name cluster zone type image
number slices restarts
[[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  fail "--name=$name is no name for a workload" "small letters, digits and hyphens, at most 40"
flags=$(python3 launch/xla_flags.py "$type") || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# XPK takes each line as it is, NAME=VALUE, without quotes.
(umask 077 && : >"$work/secrets.env")
for variable in ${envs[@]+"${envs[@]}"}; do
  value=${!variable:-}
  [ -n "$value" ] || fail "--env=$variable: there is no such variable here" "export $variable=..."
  [[ $value != *$'\n'* ]] || fail "--env=$variable has several lines, which XPK cannot hand on" \
    "mount it as a secret of the cluster"
  printf '%s=%s\n' "$variable" "$value" >>"$work/secrets.env"
done

run xpk workload create --workload="$name" --cluster="$cluster" --zone="$zone" \
  ${project:+--project="$project"} --tpu-type="$type" --num-slices="$slices" \
  --max-restarts="$restarts" --docker-image="$image" \
  ${envs[@]+--env-file="$work/secrets.env"} \
  --command="$flags
zv $(quoted "${command[@]}")--multihost"
run xpk workload list --cluster="$cluster" --zone="$zone" ${project:+--project="$project"} \
  --filter-by-job="$name"
