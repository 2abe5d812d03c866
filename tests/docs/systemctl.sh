#!/usr/bin/env bash
# Stands for systemctl on a machine that systemd does not run: starts, reloads and ends the
# servers that the documentation names, as their units do.
set -euo pipefail

memory=$SSE_DOCS_MEMORY
verbs=()
for word; do
    case $word in
    --now | --quiet | -q) ;;
    *) verbs+=("$word") ;;
    esac
done
verb=${verbs[0]}
unit=${verbs[1]-}
unit=${unit%.service}
pid_file=$memory/$unit.pid

begin() {
    setsid "$@" >>"$memory/services" 2>&1 </dev/null &
    echo $! >"$pid_file"
}
# As a unit of Type=notify does.
until_it_listens() {
    for _ in {1..500}; do
        if (: <>/dev/tcp/127.0.0.1/80) 2>/dev/null; then return 0; fi
        sleep 0.02
    done
    echo "systemctl: $unit does not listen on port 80" >&2
    return 1
}
# end_by_file FILE: ends the process whose id is in it, and its group.
end_by_file() {
    local pid
    [[ -s $1 ]] || return 0
    pid=$(<"$1")
    kill "$pid" 2>/dev/null || return 0
    # Apache and Caddy wait for a stream until it notices that its client has left.
    for _ in {1..50}; do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.02
    done
    kill -KILL -- "-$pid"
    rm -f "$1"
}
start() {
    case $unit in
    apache2)
        # Debian's unit has these folders made.
        mkdir -p /run/apache2 /run/lock/apache2
        # shellcheck disable=SC1091 # Debian's
        (set +u && . /etc/apache2/envvars && exec apache2 -k start) >>"$memory/services" 2>&1
        ;;
    nginx) nginx ;;
    lighttpd) begin lighttpd -D -f /etc/lighttpd/lighttpd.conf && until_it_listens ;;
    caddy) begin caddy run --config /etc/caddy/Caddyfile --adapter caddyfile && until_it_listens ;;
    haproxy)
        mkdir -p /run/haproxy
        begin haproxy -db -f /etc/haproxy/haproxy.cfg
        until_it_listens
        ;;
    sse-fcgi.socket)
        mkdir -p /var/lib/sse-cgi
        chown www-data /var/lib/sse-cgi
        # shellcheck disable=SC2046 # its words
        begin $(sed -n 's/^ExecStart=//p' /etc/systemd/system/sse-fcgi.service) \
            --socket /run/sse-fcgi/sse-fcgi.sock --user www-data
        ;;
    *)
        echo "systemctl: no unit $unit here" >&2
        return 1
        ;;
    esac
}
case $verb in
daemon-reload) ;;
start | enable) start ;;
restart | reload)
    case $unit in
    apache2) if [[ -s /run/apache2/apache2.pid ]]; then
        # shellcheck disable=SC1091 # Debian's
        (set +u && . /etc/apache2/envvars && exec apache2 -k graceful) >>"$memory/services" 2>&1
    else start; fi ;;
    nginx) if [[ -s /run/nginx.pid ]]; then nginx -s reload; else start; fi ;;
    *) end_by_file "$pid_file" && start ;;
    esac
    ;;
stop | disable)
    case $unit in
    apache2) end_by_file /run/apache2/apache2.pid ;;
    nginx) end_by_file /run/nginx.pid ;;
    *) end_by_file "$pid_file" ;;
    esac
    ;;
*)
    echo "systemctl: $verb is not known here" >&2
    exit 1
    ;;
esac
