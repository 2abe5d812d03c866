#!/usr/bin/env bash
# The shipped units under a real systemd, in a container: this machine's own system, seen
# through an overlay that takes in all changes; where that cannot be, a Debian 12, which is
# downloaded once (about a minute) and kept in target/. The programs are put into it by
# scripts/install.
#
#   tests/systemd.sh PROGRAMS    the folder of the built programs
#
#   SSE_TEST_DEBOOTSTRAP=1       take the Debian 12
#
# Needs root and systemd-nspawn, and debootstrap for the Debian 12; where one of these is
# missing or does not work, it says "skipped" and why, and passes.
set -euo pipefail
cd "$(dirname "$0")/.."

# What is mounted here is seen by nobody else, and gone when this has ended.
if ((EUID == 0)) && [[ -z ${SSE_TEST_MOUNTS-} ]]; then
    SSE_TEST_MOUNTS=own exec unshare --mount --propagation private "$0" "$@"
fi

programs=$(realpath -- "${1:?usage: tests/systemd.sh PROGRAMS}")
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

skip() { echo "skipped: $1"; exit 0; }
fail() {
    echo "systemd: $1" >&2
    exit 1
}

((EUID == 0)) || skip "only root can boot a container"
for tool in systemd-nspawn nsenter python3; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done

# This machine's system without its services and file systems: only what systemd itself brings
# is started.
overlay_root() {
    local layers=$scratch/layers
    [[ -x /lib/systemd/systemd && -z ${SSE_TEST_DEBOOTSTRAP-} ]] || return 1
    command -v ip >/dev/null || return 1
    root=$scratch/root
    mkdir "$root" "$layers"
    mount -t tmpfs -o mode=755 sse-test "$layers" 2>/dev/null || return 1
    mkdir "$layers/changes" "$layers/work"
    mount -t overlay -o "lowerdir=/,upperdir=$layers/changes,workdir=$layers/work" \
        sse-test "$root" 2>/dev/null || return 1
    rm -rf -- "$root"/etc/systemd "$root"/etc/rc?.d "$root"/etc/fstab \
        "$root"/usr/local/lib/systemd "$root"/usr/local/bin/sse-* "$root"/var/log/journal
    mkdir -p "$root/etc/systemd/system" "$root/mnt"
    # Without an id it would be the first boot, which enables all services.
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
}

# A Debian 12. What was downloaded serves the next attempt.
debian_root() {
    root=$target/systemd/root
    [[ -e $root/.complete ]] && return
    command -v debootstrap >/dev/null || skip "debootstrap is not installed"
    local packages=$target/systemd/packages
    mkdir -p -- "$packages"
    local attempt
    for attempt in 1 2; do
        rm -rf --one-file-system -- "$root"
        mkdir -p -- "$root"
        if timeout 200 debootstrap --variant=minbase --include=systemd,systemd-sysv,iproute2 \
            --cache-dir="$packages" bookworm "$root" http://deb.debian.org/debian \
            >"$target/systemd/debootstrap.log" 2>&1; then
            touch "$root/.complete"
            return
        fi
        echo "debootstrap, attempt $attempt: $(tail -n 1 "$target/systemd/debootstrap.log")"
    done
    skip "debootstrap failed"
}

# Our own process, its pid 1, and what we hold open meanwhile.
nspawn='' init=0 client='' problem=''
halt() {
    if [[ -n $nspawn ]]; then
        # Pid 1 of a container takes everything with it.
        ((!init)) || kill -KILL "$init" 2>/dev/null || true
        kill -KILL "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    nspawn='' init=0
    local mount
    for mount in "$scratch/root" "$scratch/layers"; do
        ! mountpoint -q "$mount" || umount --lazy "$mount"
    done
}
clean_up() {
    local code=$?
    trap - EXIT INT TERM HUP
    ((!code || !init)) || inside journalctl --no-pager -b -u 'sse-*' >&2 || true
    [[ -z $client ]] || kill "$client" 2>/dev/null || true
    halt
    rm -rf --one-file-system -- "$scratch"
    exit "$code"
}
scratch=$(mktemp -d)
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# until_true SECONDS WHAT COMMAND...: waits for a condition.
until_true() {
    local ends=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < ends)) || fail "waited in vain for $what"
        sleep 0.1
    done
}

inside() { timeout 60 nsenter -t "$init" -m -u -i -n -p -- "$@"; }

# Whether the root boots; if not, `problem` says why.
boot() {
    step "boot of $1"
    # A root that was used before: nothing of the last run stays.
    rm -rf -- "$root"/etc/systemd/system/sse-* "$root"/var/lib/sse-cgi \
        "$root"/var/lib/private/sse-cgi "$root"/var/log/private/sse-fcgi \
        "$root"/etc/sse-cgi "$root"/var/lib/sse-httpd "$root"/var/lib/private/sse-httpd \
        "$root"/var/log/sse-fcgi "$root"/etc/systemd/system/*.wants/sse-*
    mkdir -p -- "$root/mnt/project" "$root/mnt/programs"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0 systemd-nspawn -q --register=no --keep-unit \
        --private-network --machine="sse-$$" --bind-ro="$PWD:/mnt/project" \
        --bind-ro="$programs:/mnt/programs" -D "$root" --boot \
        </dev/null >"$scratch/boot.log" 2>&1 &
    nspawn=$!
    local ends=$((SECONDS + 20))
    until init=$(pgrep -P "$nspawn" -x systemd | head -n 1) && [[ -n $init ]]; do
        init=0
        problem="systemd-nspawn boots nothing here: $(tail -n 1 "$scratch/boot.log")"
        ((SECONDS < ends)) && kill -0 "$nspawn" 2>/dev/null || return 1
        sleep 0.1
    done
    ends=$((SECONDS + 90))
    until inside sh -c 'systemctl is-system-running | grep -qE "running|degraded"' 2>/dev/null; do
        problem="it is not up after 90 s: $(inside systemctl list-jobs 2>&1)"
        ((SECONDS < ends)) || return 1
        sleep 0.1
    done
    inside ip link set lo up
}

# ask SECONDS NAME=VALUE...: the answer of the responder to a GET with these settings.
ask() {
    python3 tests/systemd_client.py "/proc/$init/root${socket:-/run/sse-fcgi/sse-fcgi.sock}" "$@"
}

# has TEXT PATTERN: TEXT has a line like this.
has() { grep -qE -- "$2" <<<"$1" || fail "no $2 in: $1"; }

said() { inside journalctl --no-pager -o cat -u "${1:-sse-fcgi}"; }
has_said() { said | grep -qE -- "$1"; }
main_pid() { inside systemctl show -p MainPID --value sse-fcgi; }
# The real, effective, saved and file system user of a process.
users_of() { inside sed -n 's/^Uid:\s*//p' "/proc/$1/status"; }

drop_in() {
    inside mkdir -p /etc/systemd/system/sse-fcgi.service.d
    printf '[Service]\n%s\n' "$1" \
        | inside sh -c 'cat >/etc/systemd/system/sse-fcgi.service.d/test.conf'
    inside systemctl daemon-reload
}

step() { printf '  %s\n' "$1"; }

if ! overlay_root || ! boot "this system"; then
    [[ -z $problem ]] || echo "$problem"
    halt
    debian_root
    boot "a Debian 12" || skip "$problem"
fi

step "scripts/install puts programs and units there, and the socket is held"
inside /mnt/project/scripts/install --from /mnt/programs --responder /usr/local/bin \
    --httpd /usr/local/bin --systemd /etc/systemd/system --data /var/lib/sse-cgi >/dev/null
inside systemctl daemon-reload
inside systemctl enable --now sse-fcgi.socket 2>/dev/null
[[ $(inside systemctl is-active sse-fcgi || true) == inactive ]] || fail "started without a client"

step "the first client starts it, as a user of its own"
has "$(ask 10 SSE_STREAM=countdown SSE_COUNT=1 SSE_INTERVAL=10ms)" 'event: close'
[[ $(inside systemctl is-active sse-fcgi) == active ]] || fail "not active"
[[ $(users_of "$(main_pid)") != 0* ]] || fail "serves as root"

step "the journal has a line about the start"
until_true 5 "the line about the start" has_said 'sse-cgi [0-9.]+ listens on .*subscribers'

step "files outside the folders of --beneath are refused, and the journal of the web server says why"
has "$(ask 10 SSE_STREAM=tail SSE_FILE=/etc/passwd)" 'Status: 500'
has "$(ask 10 SSE_STREAM=command SSE_COMMAND=id)" 'Status: 500'

step "the data folder of the shipped sites is there for the chat and the examples"
has "$(ask 10 SSE_STREAM=script SSE_FILE=/var/lib/sse-cgi/flights.jsonl --until '^data:')" '^data:'
has "$(ask 10 SSE_STREAM=room SSE_FILE=/var/lib/sse-cgi/room.jsonl \
    SSE_SPOOL=/var/lib/sse-cgi/spool --until welcome)" 'event: welcome'

step "a restart ends open streams in peace, and whoever comes meanwhile is served"
inside sh -c 'echo one >/var/log/app.log; chmod 644 /var/log/app.log'
ask 30 SSE_STREAM=tail SSE_FILE=/var/log/app.log >"$scratch/stream" &
client=$!
until_true 10 "the stream" grep -q 'data: one' "$scratch/stream"
before=$(main_pid)
inside systemctl restart sse-fcgi &
restart=$!
has "$(ask 20 SSE_STREAM=countdown SSE_COUNT=1 SSE_INTERVAL=10ms)" 'event: close'
wait "$restart" || fail "the restart failed"
wait "$client" || fail "the open stream was not ended by END_REQUEST"
client=''
[[ $(main_pid) != "$before" ]] || fail "it is the same process"
until_true 5 "the line about the end" has_said 'ended by SIGTERM after .* streams ended'
has "$(tail -n 5 "$scratch/stream")" '^retry: '

step "a reload opens the log again"
drop_in $'LogsDirectory=sse-fcgi\nEnvironment=SSE_LOG=/var/log/sse-fcgi/log'
inside systemctl restart sse-fcgi
has "$(ask 10 SSE_STREAM=tail SSE_FILE=/etc/passwd)" 'Status: 500'
until_true 5 "the log" inside test -s /var/log/sse-fcgi/log
inside mv /var/log/sse-fcgi/log /var/log/sse-fcgi/log.1
inside systemctl reload sse-fcgi
has "$(ask 10 SSE_STREAM=tail SSE_FILE=/etc/passwd)" 'Status: 500'
until_true 5 "the new log" inside test -e /var/log/sse-fcgi/log

step "a bad SSE_MAX_SUBSCRIBERS has its reason in the journal"
drop_in 'Environment=SSE_MAX_SUBSCRIBERS=many'
inside systemctl restart sse-fcgi 2>/dev/null && fail "it started with SSE_MAX_SUBSCRIBERS=many"
until_true 5 "the reason" has_said 'SSE_MAX_SUBSCRIBERS=many'
inside rm /etc/systemd/system/sse-fcgi.service.d/test.conf
inside systemctl daemon-reload
inside systemctl reset-failed sse-fcgi sse-fcgi.socket 2>/dev/null || true
inside systemctl restart sse-fcgi.socket

step "each drop-in permits what its name says"
permit() {
    inside sh -c "for name in $*; do install -D -m 644 /mnt/project/systemd/drop-ins/\$name.conf \\
        /etc/systemd/system/sse-fcgi.service.d/\$name.conf; done"
}
inside sh -c 'mkdir -p /etc/sse-cgi; umask 077; echo 0123456789abcdef >/etc/sse-cgi/tokens'
memory='cat /proc/meminfo'
drop_in "Environment=\"SSE_COMMAND=$memory\""
inside systemctl restart sse-fcgi
has "$(ask 10 SSE_STREAM=command "SSE_COMMAND=$memory" --until 'event: close')" 'event: close'
! grep -q MemTotal <<<"$(ask 10 SSE_STREAM=command "SSE_COMMAND=$memory" --until 'event: close')" \
    || fail "the default shows /proc/meminfo"
permit commands tokens log-file
inside systemctl daemon-reload
inside systemctl restart sse-fcgi
has "$(ask 10 SSE_STREAM=command "SSE_COMMAND=$memory" --until MemTotal)" 'data: MemTotal'
has "$(ask 10 SSE_STREAM=tail SSE_FILE=/run/credentials/sse-fcgi.service/tokens \
    --until '^data:')" 'data: 0123456789abcdef'
until_true 5 "the log file" inside test -e /var/log/sse-fcgi/sse-fcgi.log
inside sh -c 'groupadd --system sse-publishers; useradd --system --gid sse-publishers sse-cgi;
    useradd --groups sse-publishers ann' || fail "no users can be made"
inside rm -r /etc/systemd/system/sse-fcgi.service.d
permit publishers
inside systemctl daemon-reload
inside systemctl restart sse-fcgi
has "$(ask 10 SSE_STREAM=countdown SSE_COUNT=1 SSE_INTERVAL=10ms)" 'event: close'
inside setpriv --reuid ann --regid sse-publishers --clear-groups \
    sh -c 'umask 002; echo "{\"data\":\"by ann\"}" >>/var/lib/sse-cgi/ann.jsonl' \
    || fail "a member of the group cannot append: $(inside ls -ld /var/lib/sse-cgi/)"
has "$(ask 10 SSE_STREAM=tail SSE_FILE=/var/lib/sse-cgi/ann.jsonl --until '^data:')" 'data: by ann'
inside rm -r /etc/systemd/system/sse-fcgi.service.d
inside systemctl daemon-reload
inside systemctl restart sse-fcgi

step "root is refused, and --user becomes www-data"
inside systemd-run -q --unit=sse-root /usr/local/bin/sse-fcgi --socket /run/sse-root.sock
until_true 10 "the refusal" inside sh -c \
    'journalctl --no-pager -o cat -u sse-root | grep -q -- "--user www-data"'
inside systemd-run -q --unit=sse-user /usr/local/bin/sse-fcgi \
    --socket /run/sse-user/socket --user www-data --beneath /var/log
until_true 10 "its socket" inside test -S /run/sse-user/socket
socket=/run/sse-user/socket
has "$(ask 10 SSE_STREAM=tail SSE_FILE=/var/log/app.log --until 'data: one')" 'data: one'
unset socket
pid=$(inside systemctl show -p MainPID --value sse-user)
[[ $(users_of "$pid") == $'33\t33\t33\t33' ]] || fail "not www-data: $(users_of "$pid")"
inside systemctl stop sse-user
inside test ! -e /run/sse-user/socket || fail "the socket stays behind"

# http PATH [CURL'S ARGUMENT]...: the head and the body of a response of sse-httpd.
http() {
    local path=$1
    shift
    inside curl --silent --show-error --include --no-buffer --max-time 10 "$@" \
        "http://127.0.0.1:8080$path" || true
}

step "sse-httpd starts with its first client, as a user of its own, and serves the settings file"
inside sh -c 'mkdir -p /etc/sse-cgi && cat >/etc/sse-cgi/streams.conf' <<'EOT'
[/events/log]
SSE_STREAM = tail
SSE_FILE = /var/log/app.log
[/events/publish]
SSE_STREAM = publish
SSE_FILE = /var/lib/sse-httpd/events.jsonl
SSE_PUBLISH_ALLOW = anyone
[/events/elsewhere]
SSE_STREAM = tail
SSE_FILE = /etc/passwd
EOT
inside systemctl enable --now sse-httpd.socket 2>/dev/null
[[ $(inside systemctl is-active sse-httpd || true) == inactive ]] || fail "started without a client"
has "$(http /events/log --max-time 2 2>/dev/null)" 'data: one'
pid=$(inside systemctl show -p MainPID --value sse-httpd)
[[ $(users_of "$pid") != 0* ]] || fail "serves as root"
has "$(http /events/publish --data 'two' --header 'Content-Type: text/plain')" 'HTTP/1.1 201 '
has "$(http /events/elsewhere)" 'HTTP/1.1 500 '

step "a restart of sse-httpd ends open streams in peace, and whoever comes meanwhile is served"
http /events/log --max-time 30 >"$scratch/stream" &
client=$!
until_true 10 "the stream" grep -q 'data: one' "$scratch/stream"
inside systemctl restart sse-httpd &
restart=$!
has "$(http /events/publish --data 'three' --header 'Content-Type: text/plain')" 'HTTP/1.1 201 '
wait "$restart" || fail "the restart failed"
wait "$client" || fail "the open stream was not ended"
client=''
has "$(tail -n 5 "$scratch/stream")" '^retry: '
inside systemctl stop sse-httpd.socket sse-httpd

echo "systemd: all in $SECONDS s"
