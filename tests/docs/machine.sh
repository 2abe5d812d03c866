#!/usr/bin/env bash
# Runs the commands of a page of the documentation as root of a machine of its own: with its
# own network, processes, and changes of files, which are all gone at the end.
#
#   unshare --mount --net --pid --fork --mount-proc --kill-child machine.sh PROJECT PROGRAMS SCRIPT
#
# PROJECT is the project's folder, PROGRAMS that of the built programs, SCRIPT the page.
set -euo pipefail
project=$1 programs=$2 script=$3
here=$(dirname "$(realpath "$0")")

mount --make-rprivate /
ip link set lo up
# Changes of these folders stay in memory.
memory=/mnt
mount -t tmpfs -o mode=755 memory "$memory"
cp "$script" "$memory/page"
number=0
keep_apart() {
    local folder
    for folder; do
        [[ -d $folder ]] || continue
        number=$((number + 1))
        mkdir "$memory/$number" "$memory/$number.work"
        mount -t overlay -o "lowerdir=$folder,upperdir=$memory/$number,workdir=$memory/$number.work" \
            overlay "$folder"
    done
}
keep_apart /etc /usr/local /usr/lib/cgi-bin /var /srv /root "$project"
mkdir -p /usr/lib/cgi-bin
for folder in /run /dev/shm; do mount -t tmpfs -o mode=1777 memory "$folder"; done
mkdir /run/lock /dev/shm/tmp
chmod 1777 /dev/shm/tmp
mkdir -p /var/log/nginx /var/log/apache2 /var/log/lighttpd

# The programs that the page believes to be installed or built.
mkdir "$memory/out" "$memory/programs" "$memory/words"
for program in "$programs"/{nph-*,publish*,sse-*}; do
    [[ -f $program && -x $program && $program != *.d ]] || continue
    ln -s "$program" "$memory/programs/"
    ln -s "$program" "$memory/words/$(basename "$program")"
done
word() {
    rm -f "$memory/words/$1"
    install -m 755 /dev/stdin "$memory/words/$1"
}
# The step `demo` of scripts/test runs the real one, which takes minutes.
install -m 755 /dev/stdin "$memory/build" <<WORD
#!/bin/sh
[ "\${1-}" != --print-dir ] || echo "$memory/programs"
WORD
mount --bind "$memory/build" "$project/scripts/build"
word sudo <<'WORD'
#!/bin/sh
case $1 in
-u) user=$2; shift 2; exec setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@" ;;
*) exec "$@" ;;
esac
WORD
# A page's user is not root.
word sse-httpd <<WORD
#!/bin/sh
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$programs/sse-httpd" "\$@"
WORD
# tests/systemd.sh runs the real units.
cp "$here/systemctl.sh" "$memory/words/systemctl"
export PATH="$memory/words:/usr/local/bin:/usr/local/sbin:$PATH:/usr/sbin:/sbin"
export HOME=/root TMPDIR=/dev/shm/tmp LC_ALL=C.UTF-8 SSE_DOCS_MEMORY=$memory SSE_DOCS_PROJECT=$project
unset CARGO_TARGET_DIR GATEWAY_INTERFACE http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

# --- what the page's steps call

place='' out=''
count=0
at() {
    place=$1
    [[ -z ${SSE_DOCS_TRACE-} ]] || printf '%4d s  %s\n' "$SECONDS" "$place"
    last=$out
    count=$((count + 1))
    out=$memory/out/$count
    : >"$out"
}
report() {
    local code=$?
    ((code)) || return 0
    printf '%s: failed (%d); its output:\n' "$place" "$code"
    tail -n 40 "$out" | cut -c 1-400
    if [[ -s $memory/services ]]; then
        echo '--- services'
        tail -n 30 "$memory/services"
    fi
    tail -n 5 /var/log/{nginx,apache2,lighttpd}/error.log 2>/dev/null || true
}
trap report EXIT

wait_for_output() {
    local pattern=$1 deadline=$((SECONDS + 20))
    until grep -qE -e "$pattern" "$out"; do
        if ((SECONDS > deadline)); then
            printf 'not within 20 s: %s\n' "$pattern" >>"$out"
            return 1
        fi
        sleep 0.03
    done
}
start() {
    cat >"$out.sh"
    setsid bash -eu "$out.sh" >"$out" 2>&1 </dev/null &
    started=$!
}
run_until() {
    local started
    start
    wait_for_output "$1"
    kill -TERM -- "-$started" 2>/dev/null || true
    wait "$started" 2>/dev/null || true
}
run_in_background() {
    local started
    start
    wait_for_output "$1"
}
write_file() {
    mkdir -p "$(dirname "$1")"
    cat >"$1"
}
# Each line, in this order, is in the output of the step before; `…` stands for any text.
expect_output() {
    local output rest line pattern
    # The block before stays the one that is meant, for a second block of output.
    output=$(<"$last") rest=$output
    while IFS= read -r line; do
        [[ $line ]] || continue
        pattern=$(printf '%s' "$line" | sed 's/[][\\*?]/\\&/g; s/…/*/g')
        # shellcheck disable=SC2254 # it is a pattern
        case $rest in
        *$pattern*) rest=${rest#*$pattern} ;;
        *)
            printf 'missing: %s\n--- in:\n%s\n' "$line" "$output" >"$out"
            return 1
            ;;
        esac
    done
    out=$last
}
# For hidden steps: waits until a command succeeds.
eventually() {
    local deadline=$((SECONDS + 20))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > deadline)); then
            echo "not within 20 s: $*"
            return 1
        fi
        sleep 0.03
    done
}

cd "$project"
# As in the shell of a reader.
set +o pipefail
# shellcheck disable=SC1091 # it is made of the page
source "$memory/page"
