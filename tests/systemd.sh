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

programs=$(realpath -- "${1:?usage: tests/systemd.sh PROGRAMS}")
test=systemd
. tests/container.sh

# This machine's system without its services and file systems: only what systemd itself brings
# is started.
overlay_root() {
    [[ -x /lib/systemd/systemd && -z ${SSE_TEST_DEBOOTSTRAP-} ]] || return 1
    command -v ip >/dev/null || return 1
    layer / || return 1
    rm -rf -- "$root"/etc/systemd "$root"/etc/rc?.d "$root"/etc/fstab \
        "$root"/usr/local/lib/systemd "$root"/usr/local/bin/sse-* "$root"/var/log/journal
    mkdir -p "$root/etc/systemd/system"
    # Without an id it would be the first boot, which enables all services.
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
}

boot_with_project() {
    mkdir -p -- "$root/mnt/project" "$root/mnt/programs"
    boot "$1" --bind-ro="$PWD:/mnt/project" --bind-ro="$programs:/mnt/programs"
}

# ask SECONDS NAME=VALUE...: the answer of the responder to a GET with these settings.
ask() {
    python3 tests/systemd_client.py "/proc/$init/root${socket:-/run/sse-fcgi/sse-fcgi.sock}" "$@"
}

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

if ! overlay_root || ! boot_with_project "this system"; then
    [[ -z $problem ]] || echo "$problem"
    halt
    debian_12
    layer "$debian" || skip "no overlay can be mounted"
    boot_with_project "a Debian 12" || skip "$problem"
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
client=$! clients=("$!")
until_true 10 "the stream" grep -q 'data: one' "$scratch/stream"
before=$(main_pid)
inside systemctl restart sse-fcgi &
restart=$!
has "$(ask 20 SSE_STREAM=countdown SSE_COUNT=1 SSE_INTERVAL=10ms)" 'event: close'
wait "$restart" || fail "the restart failed"
wait "$client" || fail "the open stream was not ended by END_REQUEST"
clients=()
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

inside sh -c 'echo from adm >/var/log/adm.log; chown root:adm /var/log/adm.log; chmod 640 /var/log/adm.log'
ask 30 SSE_STREAM=tail SSE_FILE=/var/log/adm.log >"$scratch/stream" &
client=$! clients=("$!")
until_true 5 "the refusal" has_said 'adm.log: Permission denied'
kill "$client" 2>/dev/null || true
wait "$client" 2>/dev/null || true
clients=()
! grep '^data: from adm' "$scratch/stream" || fail "the default reads the logs of adm"
permit read-logs
inside systemctl daemon-reload
inside systemctl restart sse-fcgi
has "$(ask 10 SSE_STREAM=tail SSE_FILE=/var/log/adm.log --until '^data:')" 'data: from adm'
inside rm -r /etc/systemd/system/sse-fcgi.service.d

step "each drop-in of the socket gives it to its web server"
for pair in nginx-user:nginx caddy:caddy haproxy:haproxy lighttpd:lighttpd; do
    user=${pair#*:}
    inside sh -c "id $user >/dev/null 2>&1 || useradd --system --user-group $user
        rm -rf /etc/systemd/system/sse-fcgi.socket.d
        install -D -m 644 /mnt/project/systemd/drop-ins/${pair%:*}.conf /etc/systemd/system/sse-fcgi.socket.d/user.conf"
    inside systemctl daemon-reload
    inside systemctl restart sse-fcgi.socket
    has "$(inside stat -c '%U:%G %a' /run/sse-fcgi/sse-fcgi.sock)" "^$user:$user 660$"
    inside setpriv --reuid "$user" --regid "$user" --clear-groups \
        test -w /run/sse-fcgi/sse-fcgi.sock || fail "$user cannot connect"
done
inside rm -r /etc/systemd/system/sse-fcgi.socket.d
inside systemctl daemon-reload
inside systemctl restart sse-fcgi.socket

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
client=$! clients=("$!")
until_true 10 "the stream" grep -q 'data: one' "$scratch/stream"
inside systemctl restart sse-httpd &
restart=$!
has "$(http /events/publish --data 'three' --header 'Content-Type: text/plain')" 'HTTP/1.1 201 '
wait "$restart" || fail "the restart failed"
wait "$client" || fail "the open stream was not ended"
clients=()
has "$(tail -n 5 "$scratch/stream")" '^retry: '
inside systemctl stop sse-httpd.socket sse-httpd

echo "systemd: all in $SECONDS s"
