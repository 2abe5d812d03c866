#!/usr/bin/env bash
# Debian 12's own compiler, of the packages rustc-web and cargo-web, in a Debian 12 whose layer with
# them is kept in target/.
#
#   tests/rustc_web.sh          whether it accepts the sources, without the parts that most
#                               dependencies are for (clients, TLS, JWT, the local server): they
#                               take minutes. What it has accepted is not checked again
#   tests/rustc_web.sh --build  scripts/build builds everything with it, and the programs run
#
# Needs root and debootstrap; where one of these is missing, it says "skipped" and why, and passes.
set -euo pipefail
cd "$(dirname "$0")/.."

test=rustc-web
. tests/container.sh

kept=$target/systemd/rustc-web
accepted=$kept.accepted
# What decides whether it compiles.
sources=$(find src web scripts/build scripts/build.d Cargo.toml Cargo.lock -type f -exec sha256sum {} + \
    | LC_ALL=C sort | sha256sum)
if [[ ${1-} != --build && $(cat "$accepted" 2>/dev/null) == "$sources" ]]; then
    echo "rustc-web: accepted before"
    exit 0
fi

debian_12
mkdir -p -- "$kept/changes" "$kept/work" "$kept/built" "$root"
mount -t overlay -o "lowerdir=$debian,upperdir=$kept/changes,workdir=$kept/work" sse-test "$root" \
    2>/dev/null || skip "no overlay can be mounted"
clean_up_mounts() {
    local mount
    for mount in project built cargo/registry; do
        ! mountpoint -q "$root/mnt/$mount" || umount --lazy "$root/mnt/$mount"
    done
}
trap 'clean_up_mounts; clean_up' EXIT
if [[ ! -x $root/usr/bin/cargo ]]; then
    step "rustc-web and cargo-web are installed"
    # Debian's first version, which is the oldest that is supported, is that of its main part.
    # shellcheck disable=SC2016 # the shell in the chroot expands it
    chroot "$root" env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get -qq update && apt-get -qq \
        -o Dpkg::Use-Pty=0 install --yes --no-install-recommends rustc-web cargo-web gcc libc6-dev' \
        >"$scratch/apt" 2>&1 || skip "apt-get install rustc-web: $(tail -n 1 "$scratch/apt")"
    chroot "$root" apt-get clean
fi
step "$(chroot "$root" rustc --version)"

# What is missing of the dependencies is downloaded here.
cargo fetch --quiet --locked
registry=${CARGO_HOME:-$HOME/.cargo}/registry
mkdir -p "$root/mnt/project" "$root/mnt/built" "$root/mnt/cargo/registry"
mount --bind -o ro "$PWD" "$root/mnt/project"
mount --bind "$registry" "$root/mnt/cargo/registry"
mount --bind "$kept/built" "$root/mnt/built"
there() {
    chroot "$root" env -i -C /mnt/project HOME=/root PATH=/usr/bin:/bin TMPDIR=/tmp \
        CARGO_HOME=/mnt/cargo CARGO_TARGET_DIR=/mnt/built CARGO_NET_OFFLINE=true "$@"
}
if [[ ${1-} == --build ]]; then
    step "scripts/build"
    there scripts/build
    folder=$(there scripts/build --print-dir)
    for name in nph-tail publish sse-fcgi sse-httpd sse-cat sse-doctor; do
        step "$(there "$folder/$name" --version)"
    done
else
    step "cargo check"
    there cargo check --quiet --locked --no-default-features --bins
    printf '%s\n' "$sources" >"$accepted"
fi
echo "rustc-web: all in $SECONDS s"
