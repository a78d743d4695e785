#!/usr/bin/env bash
# Submits a training to SLURM: one task a node, all GPUs of the node in it.
# Behind -- come train, eval, data prepare or bmmic with their arguments; all but train take one node.
#
#   launch/slurm.sh --name=zv --nodes=1 --gpus=8 --chip=h100 -- \
#     train --config=configs/stage2.py:chat,h100x8 --workdir=/shared/runs/stage2
#
# --partition=... --account=... --time=24:00:00
# --logs=DIR          default runs/logs
# --env=NAME          hands on the variable NAME of this shell, unseen; may be given again
# --dry_run           check the arguments, print what would run, and run nothing
#
# Two minutes before the time is over, or when the job is preempted, SLURM sends TERM: the training
# saves, ends with 75, and the job is put into the queue again.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
help launch/slurm.sh "$@"

# Names of options are names of variables, and sbatch's own where they agree.
name=zv nodes=1 gpus=8 chip=h100 partition='' account='' time=24:00:00 logs=runs/logs dry_run=''
envs=()
arguments=("$@")
options name nodes gpus chip partition account time logs env
number nodes gpus
one_host "$nodes" "--nodes=1"
[[ $time =~ ^([0-9]+-)?[0-9]{1,2}(:[0-9]{2}){1,2}$ ]] || fail "--time=$time" "--time=24:00:00"
python3 launch/xla_flags.py "$chip" >/dev/null || exit 2
handed=$(IFS=, && echo "${envs[*]+${envs[*]}}")

run mkdir -p "$logs"
# sbatch takes the values from this shell: only their names are on its command line.
run sbatch --job-name="$name" --nodes="$nodes" --ntasks-per-node=1 --gpus-per-node="$gpus" \
  --time="$time" ${partition:+--partition="$partition"} ${account:+--account="$account"} \
  --signal=TERM@120 --requeue --open-mode=append --output="$logs/%x-%j.log" \
  --export="PATH,HOME,LANG${handed:+,$handed}" launch/slurm.sbatch "$chip" "${command[@]}"
