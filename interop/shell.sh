# What the scripts of this folder share. Sourced by bash.

say() { printf '%s\n' "$*" >&2; }

# at_least FOUND WANTED: compares dotted versions.
at_least() { [[ -n $1 && $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# Maven prints colour codes even when it is told not to.
without_colours() { sed 's/\x1b\[[0-9;]*m//g'; }

# version_of COMMAND... : the first number that it prints.
version_of() {
  "$@" 2>/dev/null | without_colours | grep -Eo '[0-9]+(\.[0-9]+)*' | head -n 1 || true
}

# fetched COMMAND... : what takes packages from a registry has three attempts.
fetched() {
  local attempt
  for attempt in 1 2; do
    if "$@"; then return; fi
    say "attempt $attempt of 3 failed: $*"
    sleep 5
  done
  "$@"
}
