# Shared by the launch scripts, which source it: options, dry runs, secrets, restarts.
# shellcheck shell=bash disable=SC2034,SC2154  # variables of the script that sources it


# again CODE: whether a training that ended so is started again: 75 saved and asks for it, 70 hung.
again() { [ "$1" = 75 ] || [ "$1" = 70 ]; }

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
      fail "unknown option --${key%%=*}; known are:${known//!/}" "see the first lines of $0"
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
      envs+=("$value")
    else 
      printf -v "$key" '%s' "$value"
    fi
  done
  [ ${#command[@]} -gt 0 ] || fail "nothing to run is given" "end with: -- train --config=... --workdir=..."
  [ "${command[0]}" = train ] || fail "cannot launch: ${command[0]}" "-- train --config=... --workdir=..."
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

# The command as one word for another shell.
quoted() { printf '%q ' "$@"; }

# secrets FILE: writes the variables named by --env to FILE, readable by nobody else. Their values
# never reach a command line, where other users and logs would see them.
secrets() {
  local name
  (umask 077 && : >"$1")
  for name in ${envs[@]+"${envs[@]}"}; do
    [ -n "${!name:-}" ] || fail "--env=$name: there is no such variable here" "export $name=..."
    printf 'export %s=%q\n' "$name" "${!name}" >>"$1"
  done
}
