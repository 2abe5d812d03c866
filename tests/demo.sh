#!/usr/bin/env bash
# scripts/demo, as a user runs it: it prints its address, responds, and leaves nothing
# behind.
set -euo pipefail
cd "$(dirname "$0")/.."

top=$(mktemp -d)
export TMPDIR=$top/tmp
mkdir "$TMPDIR"
demo=''
clean_up() {
    local code=$?
    if [[ -n $demo ]]; then
        # SIGTERM first: its server's programs have process groups of their own, and it ends
        # them.
        kill -TERM "$demo" 2>/dev/null || true
        eventually 10 ended || kill -KILL -- "-$demo" 2>/dev/null || true
    fi
    if ((code)); then cat "$top/output"; fi
    rm -rf "$top"
}
ended() { ! kill -0 "$demo" 2>/dev/null; }
trap clean_up EXIT
fail() {
    echo "demo: $1" >&2
    exit 1
}

# It builds first, which has no deadline.
scripts/build
# A session of its own, so that processes that it leaves behind can be found.
setsid scripts/demo --port 0 >"$top/output" 2>&1 </dev/null &
demo=$!

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
eventually 60 grep -q '^Whatever appends' "$top/output" || fail "it did not start"
url=$(sed -n 's|^ *\(http://[^ ]*/\)$|\1|p' "$top/output" | head -n 1)
[[ -n $url ]] || fail "it does not say where it is"

for page in index answer chat clock countdown flights log status; do
    curl --silent --show-error --fail --max-time 10 --output /dev/null "$url$page.html" \
        || fail "no $page.html"
done
# has_event PATH: its first event is enough.
has_event() {
    local line found=1
    while IFS= read -r line; do
        [[ $line == data:* ]] && found=0 && break
    done < <(exec curl --silent --no-buffer --max-time 10 "$url$1")
    kill "$!" 2>/dev/null || true
    return "$found"
}
for name in clock countdown flights timers tail room answer; do
    for program in "nph-$name.cgi" "$name.cgi"; do
        has_event "cgi-bin/$program" || fail "no event from $program"
    done
    has_event "events/$name" || fail "no event of $name from the responder"
done
grep -qF "${url}chat.html" "$top/output" || fail "it does not say where the chat is"
grep -qF "${url}status.html" "$top/output" || fail "it does not say where the status page is"
figures=$(curl --silent --show-error --fail --max-time 10 "${url}events/status") || fail "no status"
[[ $figures == *'"subscribers":'* ]] || fail "no figures in $figures"

# its_processes: the processes of its session. A zombie, which a container's first process
# may never reap, does not count.
its_processes() {
    local stat name state session
    for stat in /proc/[0-9]*/stat; do
        # A process may end meanwhile; a name may contain spaces and parentheses.
        name=$(cat "$stat" 2>/dev/null) || continue
        read -r state _ _ session _ <<<"${name##*) }"
        [[ $session != "$demo" || $state == Z ]] || printf '%s\n' "${name%)*})"
    done
}

# This includes the server's programs, which have process groups of their own.
[[ $(its_processes) == *'(sse-fcgi)'* ]] || fail "no responder runs"
kill -TERM "$demo"
code=0
wait "$demo" || code=$?
[[ $code == 0 ]] || fail "it ended with $code"
[[ -z $(its_processes) ]] || fail "of it goes on: $(its_processes)"
! curl --silent --max-time 2 --output /dev/null "$url" || fail "it still answers"
left=$(ls -A "$TMPDIR")
[[ -z $left ]] || fail "it left $left"
echo "the demo started on $url, answered, and ended"
