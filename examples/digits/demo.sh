#!/usr/bin/env bash
# Train, pack, check, serve, ask, stop: the whole path with a real handwritten digit. Exits non-zero when any step fails.
# Needs `archive` (pip install 'torch-archive[serve]'), scikit-learn and curl.
set -euo pipefail
cd "$(dirname "$0")"
export no_proxy=127.0.0.1 # a proxy meant for the outside would not find the server here

logs=$(mktemp -d)
server=
cleanup() {
  if [ -n "$server" ]; then kill -KILL "$server" 2> /dev/null || true; fi
  rm -rf "$logs"
}
trap cleanup EXIT

show() { printf '$ %s\n' "$*" && "$@"; }
give_up() { printf '%s\n' "$1" && cat "$logs"/* && exit 1; } >&2

show python train.py
show archive create --force | sed -n 1,4p
show archive validate digits.mar

# Port 0: the system picks a free one, and the ready line tells which.
echo '$ archive serve digits.mar --port 0 &'
archive serve digits.mar --port 0 > "$logs/ready" 2> "$logs/log" &
server=$!
until grep -q '^ready' "$logs/ready"; do
  kill -0 "$server" 2> /dev/null || give_up "the server stopped before it was ready"
  sleep 0.1
done
url=$(grep -om1 'http://127\.0\.0\.1:[0-9]*' "$logs/ready")
curl -fsS -o /dev/null "$url/readyz" || give_up "it says ready, but /readyz does not"
grep ' declared ' "$logs/log" || true
grep '^ready' "$logs/ready"

echo "\$ curl $url/predictions/digits -H 'Content-Type: application/json' -d @sample.json"
answer=$(curl -fsS "$url/predictions/digits" -H 'Content-Type: application/json' -d @sample.json) || give_up "no answer"
echo "$answer"
truth=$(tr -dc '0-9' < expected.json)
[[ $answer =~ \"digit\":\ *$truth[^0-9] ]] || give_up "expected a $truth"

kill -TERM "$server"
wait "$server" || give_up "the server did not stop cleanly"
server=
echo "right: it is a $truth; the server stopped cleanly"
