#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster: a JobSet, made and watched by XPK (pip install xpk).
# Behind -- come train, eval, data prepare or bmmic with their arguments; all but train take one host.
#
#   launch/gke.sh --name=zv-stage2 --cluster=C --zone=us-west4-a --type=v5litepod-256 \
#     --image=REGISTRY/zv:tag -- \
#     train --config=configs/stage2.py:chat,v5e-256 --workdir=gs://bucket/stage2
#
# --build             build the image from this folder's Dockerfile for TPUs first, and push it
# --slices=1          slices of the job; set --config.mesh.slices to the same number
# --project=...       default: gcloud's
# --restarts=20       how often the JobSet starts again: after a slice was taken away, after exit code
#                     75 (saved, asks for it) and after 70 (hung)
# --env=NAME          hands on the variable NAME of this shell, unseen; may be given again
# --dry_run           check the arguments, print what would run, and run nothing
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
help launch/gke.sh "$@"

name='' cluster='' zone='' type='' image='' project='' build='' dry_run='' slices=1 restarts=20 envs=()
arguments=("$@")
options name cluster zone type image project slices restarts env 'build!'
required name cluster zone type image
number slices restarts
job_name "$name" "a workload"
flags=$(python3 launch/xla_flags.py "$type") || exit 2
one_host "$(hosts_of "$type")" "--type=v5litepod-8, or another type of one host"
one_host "$slices" "--slices=1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# XPK takes each line as it is, NAME=VALUE, without quotes.
(umask 077 && : >"$work/secrets.env")
for variable in ${envs[@]+"${envs[@]}"}; do
  value=${!variable}
  [[ $value != *$'\n'* ]] || fail "--env=$variable has several lines, which XPK cannot hand on" \
    "mount it as a secret of the cluster"
  printf '%s=%s\n' "$variable" "$value" >>"$work/secrets.env"
done

if [ -n "$build" ]; then
  say_code
  code_files | tar -cf "$work/code.tar" --null --files-from=-
  run docker build --build-arg=EXTRA=tpu --tag="$image" - <"$work/code.tar"
  run docker push "$image"
fi
# XPK lets a JobSet start again after codes 42 and 127 to 255, and after those it is given.
run xpk workload create --workload="$name" --cluster="$cluster" --zone="$zone" \
  ${project:+--project="$project"} --tpu-type="$type" --num-slices="$slices" \
  --max-restarts="$restarts" \
  --restart-on-exit-codes="$(IFS=, && echo "${AGAIN_CODES[*]}")" --docker-image="$image" \
  ${envs[@]+--env-file="$work/secrets.env"} \
  --command="$flags
zv $(program)"
run xpk workload list --cluster="$cluster" --zone="$zone" ${project:+--project="$project"} \
  --filter-by-job="$name"
