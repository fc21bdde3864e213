# shellcheck shell=bash
# Shared by the scripts beside it, which source it: what they need, installed on a Debian 12 that lacks it.

# shellcheck disable=SC2034
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# installs PACKAGE... with apt; says what is missing when that is not possible.
install_packages() {
    [ $# -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "missing: $*; as root: apt-get install $*"
    command -v apt-get >/dev/null || die "missing, and there is no apt-get: $*"
    say "Installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# What the build needs.
set_up_build() {
    local missing=()
    command -v swift >/dev/null || die "swift is not in PATH; see https://www.swift.org/install/linux/"
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    { command -v pkg-config >/dev/null && pkg-config --exists fuse3; } || missing+=(libfuse3-dev)
    { command -v pkg-config >/dev/null && pkg-config --exists liburing; } || missing+=(liburing-dev)
    { command -v pkg-config >/dev/null && pkg-config --exists libseccomp; } || missing+=(libseccomp-dev)
    { command -v pkg-config >/dev/null && pkg-config --exists zlib; } || missing+=(zlib1g-dev)
    command -v fusermount3 >/dev/null || missing+=(fuse3)
    # What Swift itself takes from the system: the libraries of its programs, git for the packages that the build fetches, and the
    # headers and start files that its C++ compiler looks for in that of GCC.
    swift build --version >/dev/null 2>&1 || missing+=(libcurl4-openssl-dev libncurses-dev libxml2-dev)
    command -v git >/dev/null || missing+=(git ca-certificates)
    command -v g++ >/dev/null || missing+=(g++)
    install_packages "${missing[@]}"
}

# What the README's tour and the text of `start` name beside it.
set_up_tour() {
    local missing=()
    command -v numactl >/dev/null || missing+=(numactl)
    { command -v lstopo-no-graphics && command -v hwloc-calc; } >/dev/null || missing+=(hwloc-nox)
    command -v getfattr >/dev/null || missing+=(attr)
    command -v fallocate >/dev/null && command -v lsmem >/dev/null || missing+=(util-linux)
    python3 -c 'import numpy' 2>/dev/null || missing+=(python3 python3-numpy)
    if [ "$(id -u)" = 0 ] || [ ${#missing[@]} = 0 ]; then
        install_packages "${missing[@]}"
    else
        say "The tour needs more; as root: apt-get install ${missing[*]}"
    fi
}

# What the tests run beside it. Any python3 with numpy will do: the first in PATH is the one the tests start.
set_up_tests() {
    local missing=() tool
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    for tool in numactl fio mandoc rsync strace cmake make; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    # The tests start Debian's Python for it.
    /usr/bin/python3 -c 'import pytest' 2>/dev/null || missing+=(python3 python3-pytest)
    for tool in setpriv lsmem chmem lscpu; do
        command -v "$tool" >/dev/null || { missing+=(util-linux); break; }
    done
    command -v lstopo-no-graphics >/dev/null || missing+=(hwloc-nox)
    [ -e /usr/include/numa.h ] || missing+=(libnuma-dev)
    python3 -c 'import numpy' 2>/dev/null || missing+=(python3 python3-numpy)
    # The tests start Debian's Python for it, whatever is first in PATH.
    /usr/bin/python3 -c 'import lmdb' 2>/dev/null || missing+=(python3 python3-lmdb)
    install_packages "${missing[@]}"
    # Linux's own HMM tests are 140 MB away, and all else is tested without them.
    if [ -n "${CI:-}" ] && [ -z "${LINUX_SOURCE:-}" ] && [ "$(id -u)" = 0 ] && ! compgen -G '/usr/src/linux-source-*' >/dev/null; then
        (install_packages linux-source-6.1) || say "There is no linux-source-6.1: Linux's HMM tests are skipped."
    fi
    python3 -c 'import numpy' 2>/dev/null || die "$(command -v python3) cannot import numpy; put one in PATH that can"
}

# /dev/fuse, or the reason why there is none.
load_fuse() {
    [ -c /dev/fuse ] || modprobe fuse 2>/dev/null || true
    [ -c /dev/fuse ]
}
