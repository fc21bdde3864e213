# shellcheck shell=bash
# Sourced by the scripts beside it: a bare Debian in a directory, and commands in it as in a container.

# shellcheck disable=SC2034
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# make_root DIRECTORY: a Debian 12 with nothing but what is essential and apt, unless there is one. MIRROR and SUITE choose another.
make_root() {
    [ "$(id -u)" = 0 ] || die "needs root"
    command -v debootstrap >/dev/null || die "needs debootstrap"
    [ ! -e "$1/etc/debian_version" ] || return 0
    debootstrap --variant=minbase "${SUITE:-bookworm}" "$1" ${MIRROR:+"$MIRROR"} >&2
}

# in_root DIRECTORY COMMAND...: runs it in the root with namespaces of its own. What it leaves running ends with it.
# BINDS lists files and directories of this machine that are seen there, at the same paths.
in_root() {
    local directory=$1
    shift
    # shellcheck disable=SC2016
    BINDS=${BINDS:-} unshare --mount --pid --fork --kill-child --propagation private bash -euc '
        root=$1; shift
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount -t tmpfs -o mode=755 dev "$root/dev"
        for device in null zero full random urandom tty fuse; do
            touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
        done
        ln -s /proc/self/fd "$root/dev/fd"
        mkdir "$root/dev/pts"; mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"; ln -s pts/ptmx "$root/dev/ptmx"
        mkdir "$root/dev/shm"; mount -t tmpfs shm "$root/dev/shm"
        touch "$root/etc/resolv.conf"; mount --bind "$(readlink -f /etc/resolv.conf)" "$root/etc/resolv.conf" || true
        for path in $BINDS; do
            if [ -d "$path" ]; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}"; touch "$root$path"; fi
            mount --bind "$path" "$root$path"
        done
        cd "$root"
        pivot_root . .
        umount -l .
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb "$@"' in_root "$directory" "$@"
}
