# Shared by the launch scripts, which source it: help, options, dry runs, secrets, restarts.
# shellcheck shell=bash disable=SC2034,SC2154  # variables of the script that sources it

# Exit codes that ask for another start: 75, a training that was told to end and saved; 70, one that
# hung.
AGAIN_CODES=(70 75)

# What can be launched, and how a command of it begins.
LAUNCHES='train, eval, data prepare, bmmic'

# again CODE: whether a command that ended so is started again.
again() { [[ " ${AGAIN_CODES[*]} " == *" $1 "* ]]; }

# help SCRIPT ARGUMENT...: with --help among the arguments before --, prints the first lines of the
# script, which describe it, and ends.
help() {
  local script=$1 argument
  shift
  for argument in "$@"; do
    case $argument in
      --) return ;;
      --help | -h)
        sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$script"
        exit 0
        ;;
    esac
  done
}

# fail WHAT FIX: one message, exit code 2.
fail() {
  printf '%s\n  fix: %s\n' "$1" "$2" >&2
  exit 2
}

# run COMMAND...: runs it, or only prints it in a dry run.
run() {
  if [ "$dry_run" = 1 ]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

# options NAME...: reads --NAME=VALUE and --NAME VALUE into variables, --dry_run and other switches
# into 1, and all that follows -- into `command`. Switches are named with a trailing "!".
options() {
  local known=" $* dry_run! " key value
  command=()
  while [ ${#arguments[@]} -gt 0 ]; do
    key=${arguments[0]#--}
    arguments=("${arguments[@]:1}")
    if [ -z "$key" ]; then
      command=(${arguments[@]+"${arguments[@]}"})
      break
    fi
    value=${key#*=}
    if [[ $known == *" ${key%%=*}! "* ]]; then
      printf -v "${key%%=*}" 1
      continue
    fi
    if [[ $known != *" ${key%%=*} "* ]]; then
      fail "unknown option --${key%%=*}; known are:${known//!/}" "$0 --help"
    fi
    if [ "$value" = "$key" ]; then
      [ ${#arguments[@]} -gt 0 ] || fail "--$key needs a value" "--$key=..."
      value=${arguments[0]}
      arguments=("${arguments[@]:1}")
    fi
    key=${key%%=*}
    if [ "$key" = env ]; then
      # Bash expands an index in ${!name}: a name is a name and nothing else.
      [[ $value =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || fail "--env=$value is no name of a variable" "--env=NAME"
      [ -n "${!value:-}" ] || fail "--env=$value: there is no such variable here" "export $value=..."
      envs+=("$value")
    else
      printf -v "$key" '%s' "$value"
    fi
  done
  [ ${#command[@]} -gt 0 ] || fail "nothing to run is given" "end with: -- train --config=... --workdir=..."
  case "${command[*]} " in
    'train '* | 'eval '* | 'bmmic '* | 'data prepare '*) ;;
    *) fail "cannot launch: ${command[*]}" "-- and one of: $LAUNCHES" ;;
  esac
}

# A training is one program on all hosts; the other commands run on one.
on_all_hosts() { [ "${command[0]}" = train ]; }

# The command as one word for another shell, with what its kind needs there.
program() {
  if on_all_hosts; then
    quoted "${command[@]}" --multihost
  else
    quoted "${command[@]}"
  fi
}

# one_host HOSTS FIX: stops where a command that runs on one host would be given several.
one_host() {
  on_all_hosts || [ "$1" = 1 ] ||
    fail "${command[0]} runs on one host, and here would be several" "$2"
}

# hosts_of TYPE: the hosts of a TPU slice, as "1" or "several". v5e and v6e are named after their
# chips, up to eight of which share a host; v4 and v5p after their cores, eight to a host.
hosts_of() {
  if [ "${1##*-}" -le 8 ] 2>/dev/null; then echo 1; else echo several; fi
}

# job_name NAME: stops unless clouds take it.
job_name() {
  [[ $1 =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
    fail "--name=$1 is no name for $2" "small letters, digits and hyphens, at most 40, a letter first"
}

# required NAME...: stops unless every variable has a value.
required() {
  local name
  for name in "$@"; do
    [ -n "${!name}" ] || fail "--$name is missing" "--$name=..."
  done
}

# number NAME...: stops unless every variable is a whole number.
number() {
  local name
  for name in "$@"; do
    [[ ${!name} =~ ^[0-9]+$ ]] || fail "--$name=${!name} is no whole number" "--$name=8"
  done
}

quoted() { printf '%q ' "$@"; }

# secrets FILE: writes the variables named by --env to FILE, readable by nobody else. Their values
# never reach a command line, where other users and logs would see them.
secrets() {
  local name
  (umask 077 && : >"$1")
  for name in ${envs[@]+"${envs[@]}"}; do printf 'export %s=%q\n' "$name" "${!name}" >>"$1"; done
}

# code_files: the files of the working tree, committed or not, without what git ignores; NUL ends
# each.
code_files() {
  local file
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
  done
}

# say_code: which code will run, so that a log tells later: a commit, and what differs from it.
say_code() {
  local changed
  changed=$(git status --porcelain)
  printf 'The code: commit %s' "$(git rev-parse --short HEAD)"
  if [ -z "$changed" ]; then
    echo ', nothing changed since'
  else
    printf ' and these changes, which go along:\n%s\n' "$changed"
  fi
}
