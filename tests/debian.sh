#!/usr/bin/env bash
# The Debian packages, in a Debian 12 that systemd has booted in a container: as a new user with
# only Apache and with only nginx, by the commands of docs/packages.md; an upgrade while clients
# read; a reconfiguration; removal and purge, after which nothing is left but what the user wrote.
#
#   tests/debian.sh PACKAGES    the folder of the packages, which scripts/package has made
#
# Needs what tests/systemd.sh needs, and for the pages Chromium and tests/node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=$(realpath -- "${1:?usage: tests/debian.sh PACKAGES}")
test=debian
. tests/container.sh

# A machine with one web server: its packages are kept with those of the Debian.
with_server() {
    local server=$1 archives=$target/systemd/archives
    layer "$debian" || skip "no overlay can be mounted"
    mkdir -p -- "$archives/partial"
    mount --bind "$archives" "$root/var/cache/apt/archives"
    # A package's scripts start no service in a chroot: systemd starts it at the boot.
    local install=(chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -qq
        -o Dpkg::Use-Pty=0 -o APT::Keep-Downloaded-Packages=true install --yes
        --no-install-recommends "$server")
    "${install[@]}" >"$scratch/apt" 2>&1 \
        || { chroot "$root" apt-get -qq update && "${install[@]}"; } >>"$scratch/apt" 2>&1 \
        || skip "apt-get install $server: $(tail -n 1 "$scratch/apt")"
    umount "$root/var/cache/apt/archives"
    mkdir -p "$root/root/packages" "$root/root/newer"
    # Debian's installer writes it.
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$(cat "$root/etc/hostname")" >"$root/etc/hosts"
    cp -- "$packages"/*.deb "$root/root/packages/"
    boot "a Debian 12 with $server" || skip "$problem"
    until_true 20 "$server" inside systemctl is-active "$server"
}

# A newer version of each package, of the same files.
newer() {
    local package folder version
    for package in "$root"/root/packages/*.deb; do
        folder=$scratch/$(basename "$package" .deb)
        dpkg-deb -R "$package" "$folder"
        version=$(sed -n 's/^Version: //p' "$folder/DEBIAN/control")
        sed -i "s/^Version: .*/Version: $version+newer/" "$folder/DEBIAN/control"
        dpkg-deb -Znone --root-owner-group -b "$folder" "$root/root/newer" >/dev/null
        rm -rf -- "$folder"
    done
}

# run COMMAND: as an administrator types it, in the folder of the packages.
run() {
    inside env -C /root/packages DEBIAN_FRONTEND=noninteractive bash -c "$1" \
        >"$scratch/output" 2>&1 </dev/null || fail "$1: $(cat "$scratch/output")"
}

# The commands that docs/packages.md prints for this server, one on each line.
commands() {
    awk -v mark="<!-- test: not run: tests/debian.sh runs it ($1) -->" '
        $0 == mark { marked = 1; next }
        marked && /^```sh$/ { inside = 1; next }
        /^```$/ { inside = marked = 0 }
        inside
    ' docs/packages.md
}
as_a_new_user() {
    local command count=0
    while IFS= read -r command; do
        step "  $command"
        run "$command"
        count=$((count + 1))
    done < <(commands "$1")
    ((count > 0 && count < 10)) || fail "docs/packages.md has $count commands for $1"
}

# shows PATH TEXT: Chromium shows TEXT on this page.
shows() {
    nsenter -t "$init" -n -- node tests/debian_page.js "http://localhost$1" "$2" "${@:3}" \
        || fail "Chromium does not show $2 at $1"
}

# All files but those of caches, logs of others, and dpkg's own; in /etc also their content.
# (a2enmod and a2enconf make the folders of Apache's own records.)
listing() {
    (
        cd -- "$root"
        find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp \
            -o -path ./root -o -path ./var/cache -o -path ./var/lib/apt -o -path ./var/lib/dpkg \
            -o -path ./var/log/journal -o -path ./var/log/apt -o -path ./var/tmp \
            -o -path ./var/lib/systemd/timers -o -path './etc/*-' \) -prune \
            -o -path './var/lib/apache2/*' -type d -o -printf '%p %M %U:%G %l\n'
        find ./etc -xdev -type f ! -name '*-' ! -name ld.so.cache -exec sha256sum {} +
    ) | LC_ALL=C sort
}

# only_left BEFORE NAME...: compared with the listing BEFORE, only these files are new or changed.
only_left() {
    local before=$1 left
    shift
    left=$(LC_ALL=C comm -3 "$before" <(listing) | sed -E 's/^\t//; s/^[0-9a-f]{64}  //; s/ .*//' | sort -u)
    [[ $left == "$(printf '%s\n' "$@" | sort -u)" ]] \
        || fail "left: $left"$'\n'"$(diff "$before" <(listing))"
}

version_of() { inside dpkg-query -W -f '${Version}' "$1" 2>/dev/null || true; }
is_gone() {
    [[ -z $(version_of "$1") ]] || fail "$1 is still there"
}

# reader NAME URL: a client that prints what it receives into a file.
reader() {
    inside_long sse-cat "$2" >"$scratch/$1" 2>"$scratch/$1.errors" &
    clients+=("$!")
    until_true 20 "the stream $1" test -s "$scratch/$1"
}
end_readers() {
    # (A signal to nsenter would not reach the process in the container.)
    inside pkill -x sse-cat || true
    until_true 10 "the end of the readers" have_ended
    clients=()
}
have_ended() {
    local client
    for client in "${clients[@]}"; do ! kill -0 "$client" || return 1; done
}
inside_long() { exec nsenter -t "$init" -m -u -i -n -p -- "$@"; }

# publisher FILE FORMAT: appends a number a hundred times a second until `stop` is there.
publisher() {
    inside_long sh -c 'rm -f /root/stop; n=1
        until [ -e /root/stop ]; do n=$((n + 1)); printf "$2\n" "$n" >>"$1"; sleep 0.01; done
        echo "$n" >/root/last' - "$1" "$2" &
    clients+=("$!")
}
# exactly NAME...: each reader has received each number once, in order.
exactly() {
    local last name
    inside touch /root/stop
    until_true 10 "the end of the publisher" inside test -s /root/last
    last=$(inside cat /root/last)
    for name in "$@"; do
        until_true 30 "the last event of $name" grep -qx "$last" "$scratch/$name"
        cmp <(seq 1 "$last") "$scratch/$name" || fail "$name lost or repeated events"
    done
    end_readers
    inside rm -f /root/stop /root/last
}

debian_12

# ---- Only Apache: CGI.

with_server apache2
newer
before=$scratch/before
listing >"$before"

step "a new user with Apache has events in Chromium"
as_a_new_user apache
shows /sse/log.html 'the first line' "$root/var/log/app.log"

step "an upgrade does not end a stream of CGI, and later clients get the new program"
run 'apt-get -qq install ./sse-tools_*.deb'
run 'echo 1 >/var/log/app.log'
reader cgi http://localhost/cgi-bin/nph-tail.cgi
publisher /var/log/app.log '%s'
run 'apt-get -qq install ../newer/*.deb'
[[ $(version_of sse-cgi) == *+newer ]] || fail "sse-cgi is $(version_of sse-cgi)"
reader later http://localhost/cgi-bin/nph-tail.cgi
exactly cgi
[[ ! -s $scratch/cgi.errors ]] || fail "the stream was interrupted: $(cat "$scratch/cgi.errors")"

step "after removal the programs are gone from cgi-bin, and a reinstallation enables them again"
run 'apt-get -qq remove sse-cgi'
[[ -z $(inside find /usr/lib/cgi-bin -name '*tail*') ]] || fail "a program is left in cgi-bin"
inside curl -sf -o "/dev/null" http://localhost/cgi-bin/nph-tail.cgi && fail "it is still served"
run 'apt-get -qq install ./sse-cgi_*.deb'
reader again http://localhost/cgi-bin/nph-tail.cgi
end_readers

step "after a purge nothing is left but what the user wrote"
run 'apt-get -qq purge sse-cgi sse-fcgi sse-tools'
for name in sse-cgi sse-fcgi sse-tools; do is_gone "$name"; done
# The log, and that a2enmod was asked for CGI.
only_left "$before" ./var/log/app.log ./etc/apache2/mods-enabled/cgid.conf \
    ./etc/apache2/mods-enabled/cgid.load ./var/lib/apache2/module/enabled_by_admin/cgid
run 'apachectl configtest'
halt

# ---- Only nginx: the responder.

with_server nginx
newer
listing >"$before"

step "a new user with nginx has events in Chromium"
as_a_new_user nginx
shows /sse/log.html 'the first line' "$root/var/lib/sse-cgi/events.jsonl" '{"data":"%s"}'
[[ $(inside systemctl is-enabled sse-fcgi.socket) == enabled ]] || fail "the socket is not enabled"

step "an upgrade loses no event of an open stream and repeats none, and keeps a changed file"
run 'apt-get -qq install ./sse-tools_*.deb'
run "printf '\n[/events/own]\nSSE_STREAM = tail\nSSE_FILE = /var/lib/sse-cgi/own.jsonl\n' >>/etc/sse-cgi/sse.conf"
run "printf '\n[/events/own]\nSSE_STREAM = tail\nSSE_FILE = /var/lib/sse-httpd/own.jsonl\n' >>/etc/sse-cgi/streams.conf"
run 'systemctl reload sse-fcgi && systemctl enable --now sse-httpd.socket'
run 'echo {\"data\":\"1\"} >/var/lib/sse-cgi/own.jsonl'
main_pid() { inside systemctl show -p MainPID --value "$1"; }
for name in one two three; do reader "$name" http://localhost/events/own; done
publisher /var/lib/sse-cgi/own.jsonl '{"data":"%s"}'
old=$(main_pid sse-fcgi)
run 'apt-get -qq install ../newer/sse-{fcgi,tools}_*.deb'
[[ $(version_of sse-fcgi) == *+newer ]] || fail "sse-fcgi is $(version_of sse-fcgi)"
[[ $(main_pid sse-fcgi) != "$old" && $(main_pid sse-fcgi) != 0 ]] || fail "the old responder still runs, or none"
reader later http://localhost/events/own
exactly one two three
inside grep -q /events/own /etc/sse-cgi/sse.conf || fail "a changed settings file was replaced"

step "a reconfiguration loses no event either"
run 'echo {\"data\":\"1\"} >/var/lib/sse-cgi/own.jsonl'
for name in one two three; do reader "$name" http://localhost/events/own; done
publisher /var/lib/sse-cgi/own.jsonl '{"data":"%s"}'
run 'dpkg-reconfigure sse-fcgi'
exactly one two three

step "sse-httpd serves its first client, and an upgrade loses no event"
run 'curl -sN --max-time 1 http://localhost:8080/events/clock || [ $? = 28 ]'
run 'echo {\"data\":\"1\"} >/var/lib/sse-httpd/own.jsonl'
for name in one two; do reader "$name" http://localhost:8080/events/own; done
publisher /var/lib/sse-httpd/own.jsonl '{"data":"%s"}'
old=$(main_pid sse-httpd)
run 'apt-get -qq install --allow-downgrades ./sse-tools_*.deb'
[[ $(main_pid sse-httpd) != "$old" && $(main_pid sse-httpd) != 0 ]] \
    || fail "the old sse-httpd still runs, or none"
exactly one two

step "after removal nothing runs and settings are kept; a reinstallation serves the same streams"
run 'apt-get -qq remove sse-fcgi sse-tools'
[[ -z $(inside pgrep -l 'sse-' || true) ]] || fail "a program still runs"
inside test ! -e /run/sse-fcgi/sse-fcgi.sock || fail "the socket is left"
run 'apt-get -qq install ./sse-fcgi_*.deb ./sse-tools_*.deb'
reader own http://localhost/events/own
end_readers

step "after a purge nothing is left but what the user wrote"
run 'apt-get -qq purge sse-fcgi sse-tools'
for name in sse-fcgi sse-tools; do is_gone "$name"; done
[[ -z $(inside pgrep -l 'sse-' || true) ]] || fail "a program still runs"
[[ -z $(inside systemctl list-unit-files --no-legend 'sse-*') ]] || fail "a unit is left"
# The site, which the user changed; the published files, and to whom they belong.
only_left "$before" ./etc/nginx/sites-available/default ./var/lib/sse-cgi \
    ./var/lib/sse-cgi/events.jsonl ./var/lib/sse-cgi/own.jsonl \
    ./var/lib/sse-httpd ./var/lib/private/sse-httpd ./var/lib/private/sse-httpd/own.jsonl \
    ./etc/passwd ./etc/shadow ./etc/group ./etc/gshadow
run 'rm -r /var/lib/sse-cgi/* /var/lib/private/sse-httpd/*'
run 'apt-get -qq install ./sse-fcgi_*.deb ./sse-tools_*.deb && apt-get -qq purge sse-fcgi sse-tools'
only_left "$before" ./etc/nginx/sites-available/default
halt

echo "debian: all in $SECONDS s"
