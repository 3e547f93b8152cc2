#!/usr/bin/env bash
# In a fresh clone, with an empty environment and state, README.md's first command does what it says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "fresh clone: $*" >&2; exit 1; }

tmp=$(mktemp -d)
export PIDPROOF_STATE_DIR="$tmp/state"
cleanup() {
    "$tmp/clone/.venv/bin/pidproof" stop web >/dev/null 2>&1 || true
    rm -rf "$tmp"
}
trap cleanup EXIT
git clone -q . "$tmp/clone"
cd "$tmp/clone"

command=$(sed -nE 's/^(\$ )?(python3 -m venv .*pidproof ensure web .*)$/\2/p' README.md | head -n 1)
[ -n "$command" ] || fail "README.md has no line that installs pidproof and ensures web"
ensure=${command##*&& }

# ensure_url COMMAND: run it and leave the server's address in $url.
ensure_url() {
    echo "\$ $1"
    bash -c "set -eo pipefail; $1" | tee "$tmp/output"
    url=$(grep -oE 'http://[^/ ]+:[0-9]+' "$tmp/output" | tail -n 1) ||
        fail "the command printed no address"
}
answers() {
    .venv/bin/python -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)' "$1"
}

ensure_url "$command"
first=$url
answers "$first" || fail "$first does not answer"
.venv/bin/pidproof status web || fail "status of a healthy server left $?"
ensure_url "$ensure"
[ "$url" = "$first" ] || fail "a second call gave $url, the first $first"
.venv/bin/pidproof stop web || fail "stop left $?"
status=0
.venv/bin/pidproof status web || status=$?
[ "$status" = 3 ] || fail "status of a stopped server left $status, not 3"
! answers "$first" 2>/dev/null || fail "$first still answers after stop"
echo "fresh clone: README.md's first command keeps its word ($first)"
