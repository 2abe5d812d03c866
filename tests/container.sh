# A container that systemd has booted: what tests/systemd.sh and tests/debian.sh share. They set
# `test` (the name in messages) and source this file; it starts them again as root of mounts that
# nobody else sees.
# shellcheck shell=bash

skip() { echo "skipped: $1"; exit 0; }
fail() {
    echo "$test: $1" >&2
    exit 1
}
step() { printf '  %s\n' "$1"; }

((EUID == 0)) || skip "only root can boot a container"
for tool in systemd-nspawn nsenter python3; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
# What is mounted here is seen by nobody else, and gone when this has ended.
if [[ -z ${SSE_TEST_MOUNTS-} ]]; then
    SSE_TEST_MOUNTS=own exec unshare --mount --propagation private "$0" "$@"
fi

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
scratch=$(mktemp -d)
# The folder that becomes / of the container.
root=$scratch/root

# layer FOLDER: root is what FOLDER contains, with a layer in memory that takes all changes.
layer() {
    local layers=$scratch/layers
    mkdir -p "$root" "$layers"
    mount -t tmpfs -o mode=755 sse-test "$layers" 2>/dev/null || return 1
    mkdir "$layers/changes" "$layers/work"
    mount -t overlay -o "lowerdir=$1,upperdir=$layers/changes,workdir=$layers/work" \
        sse-test "$root" 2>/dev/null
}

# Sets `debian` to the folder of a Debian 12 as a new machine has it, with sudo. It is downloaded
# once (a minute and a half, half of it processor time), and kept in target/.
debian_packages=systemd,systemd-sysv,iproute2,sudo,ca-certificates,curl,procps
debian_12() {
    debian=$target/systemd/debian-12
    [[ $(cat "$debian.complete" 2>/dev/null) != "$debian_packages" ]] || return 0
    command -v debootstrap >/dev/null || skip "debootstrap is not installed"
    local packages=$target/systemd/packages attempt
    mkdir -p -- "$packages"
    rm -f -- "$debian.complete"
    for attempt in 1 2; do
        rm -rf --one-file-system -- "$debian"
        mkdir -p -- "$debian"
        if timeout 300 debootstrap --variant=minbase --include="$debian_packages" \
            --cache-dir="$packages" bookworm "$debian" http://deb.debian.org/debian \
            >"$target/systemd/debootstrap.log" 2>&1; then
            echo "$debian_packages" >"$debian.complete"
            return
        fi
        echo "debootstrap, attempt $attempt: $(tail -n 1 "$target/systemd/debootstrap.log")"
    done
    skip "debootstrap failed"
}

# Our own process, its pid 1, and why it did not boot.
nspawn='' init=0 problem=''
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
# Processes that a test holds open.
clients=()
clean_up() {
    local code=$?
    trap - EXIT INT TERM HUP
    ((!code || !init)) || { inside journalctl --no-pager -b -n 60; tail -n 5 "$scratch"/*.errors "$scratch/output"; } >&2 2>/dev/null || true
    ((!${#clients[@]})) || kill "${clients[@]}" 2>/dev/null || true
    halt
    rm -rf --one-file-system -- "$scratch"
    exit "$code"
}
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

# boot WHAT [OPTION]...: whether the root boots; if not, `problem` says why. It has a network of
# its own, with only the loopback interface.
boot() {
    step "boot of $1"
    shift
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0 systemd-nspawn -q --register=no --keep-unit \
        --private-network --machine="sse-$$" "$@" -D "$root" --boot \
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

# has TEXT PATTERN: TEXT has a line like this.
has() { grep -qE -- "$2" <<<"$1" || fail "no $2 in: $1"; }
