#!/usr/bin/env bash
# scripts/demo --redis, as a user runs it: what is published to one node arrives at the other,
# and nothing is left behind.
set -euo pipefail
cd "$(dirname "$0")/.."

top=$(mktemp -d)
export TMPDIR=$top/tmp
mkdir "$TMPDIR" "$top/bin"
demo=''
clean_up() {
    local code=$?
    if [[ -n $demo ]]; then
        kill -TERM "$demo" 2>/dev/null || true
        eventually 10 ended || kill -KILL -- "-$demo" 2>/dev/null || true
    fi
    if ((code)); then cat "$top/output"; fi
    rm -rf "$top"
}
ended() { ! kill -0 "$demo" 2>/dev/null; }
trap clean_up EXIT
fail() {
    echo "demo-redis: $1" >&2
    exit 1
}
# eventually SECONDS COMMAND...: waits for a condition, not for a time.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        kill -0 "$demo" 2>/dev/null || return 1
        sleep 0.05
    done
}

ln -s "$(command -v dirname)" "$top/bin/"
code=0
PATH=$top/bin "$BASH" scripts/demo --redis >"$top/output" 2>&1 || code=$?
[[ $code == 111 ]] && grep -q 'apt-get install redis-server' "$top/output" \
    || fail "no message without redis-server"

# It builds first, which has no deadline.
scripts/build
setsid scripts/demo --redis --port 0 >"$top/output" 2>&1 </dev/null &
demo=$!
eventually 60 grep -q '^Ctrl-C ends' "$top/output" || fail "it did not start"
mapfile -t urls < <(sed -n 's|^ *\(http://[^ ]*/\)flights.html.*|\1|p' "$top/output")
((${#urls[@]} == 2)) || fail "it does not say where two nodes are"

readers=()
for node in 0 1; do
    curl --silent --show-error --fail --max-time 10 --output /dev/null "${urls[node]}flights.html" \
        || fail "no page at node $node"
    curl --silent --no-buffer --max-time 30 "${urls[node]}events/flights" >"$top/got-$node" &
    readers+=($!)
done
# The first table of the board.
for node in 0 1; do
    eventually 10 grep -q '^data: \[.*Barcelona' "$top/got-$node" || fail "no board at node $node"
done
# As the demo says it: by each node, and by Redis.
mapfile -t commands < <(sed -n '/^Publish by/,/^$/s/^ \{4\}//p' "$top/output")
((${#commands[@]} == 3)) || fail "it does not say how to publish"
for number in 0 1 2; do
    eval "${commands[number]//R836/N$number}" >"$top/reply" 2>&1 || fail "$(cat "$top/reply")"
    for node in 0 1; do
        eventually 10 grep -q "^data: {\"flight\":\"N$number\"" "$top/got-$node" \
            || fail "N$number did not arrive at node $node: $(cat "$top/reply")"
    done
done
# A chat with a member at each node.
for node in 0 1; do
    curl --silent --no-buffer --max-time 30 "${urls[node]}events/room?nick=Member$node" \
        >"$top/chat-$node" &
    readers+=($!)
    eventually 10 grep -q '^event: welcome' "$top/chat-$node" || fail "no chat at node $node"
done
eventually 10 grep -q '"nick":"Member1"' "$top/chat-0" || fail "a member at node 1 is not at node 0"
kill "${readers[@]}" 2>/dev/null || true

# its_processes: the processes of its session, without zombies.
its_processes() {
    local stat name state session
    for stat in /proc/[0-9]*/stat; do
        name=$(cat "$stat" 2>/dev/null) || continue
        read -r state _ _ session _ <<<"${name##*) }"
        [[ $session != "$demo" || $state == Z ]] || printf '%s\n' "${name%)*})"
    done
}
[[ $(its_processes) == *'(redis-server)'* ]] || fail "no redis-server runs"
kill -TERM "$demo"
code=0
wait "$demo" || code=$?
[[ $code == 0 ]] || fail "it ended with $code"
[[ -z $(its_processes) ]] || fail "of it goes on: $(its_processes)"
left=$(ls -A "$TMPDIR")
[[ -z $left ]] || fail "it left $left"
echo "the demo with Redis started, two nodes showed what was published, and it ended"
