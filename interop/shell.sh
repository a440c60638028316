# What the scripts of this folder share. Sourced by bash.

# Go keeps what it builds in a folder of one's own, also where nobody has logged in.
export HOME="${HOME:-$(echo ~)}"

say() { printf '%s\n' "$*" >&2; }

# failed STATUS LINE COMMAND: what cannot be gone on from has the last words, by name. An exit code
# of 1 is kept for a test that failed.
failed() {
  say "error: line $2: exit code $1: $3"
  exit 2
}

# at_least FOUND WANTED: compares dotted versions.
at_least() { [[ -n $1 && $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# Maven prints colour codes even when it is told not to.
without_colours() { sed 's/\x1b\[[0-9;]*m//g'; }

# version_of COMMAND... : the first number that it prints.
version_of() {
  "$@" 2>/dev/null | without_colours | grep -Eo '[0-9]+(\.[0-9]+)*' | head -n 1 || true
}

# fetched COMMAND... : what takes packages from a registry has four attempts.
fetched() {
  local pause
  for pause in 5 15 45; do
    if "$@"; then return; fi
    say "failed, and again in $pause s: $*"
    sleep "$pause"
  done
  "$@" || failed $? "${BASH_LINENO[0]}" "$*"
}
