# shellcheck shell=bash
# Functions that the scripts beside it source: they install missing packages on Debian 12.

# shellcheck disable=SC2034
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# install_packages PACKAGE...: installs with apt, or exits and names the packages if it cannot.
install_packages() {
    [ $# -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "missing packages: $*; run as root: apt-get install $*"
    command -v apt-get >/dev/null || die "missing packages: $*; install them, apt-get is not available"
    say "Installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Packages for the build.
set_up_build() {
    local missing=()
    command -v swift >/dev/null || die "swift is not in PATH; install it from https://www.swift.org/install/linux/"
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    { command -v pkg-config >/dev/null && pkg-config --exists fuse3; } || missing+=(libfuse3-dev)
    { command -v pkg-config >/dev/null && pkg-config --exists liburing; } || missing+=(liburing-dev)
    { command -v pkg-config >/dev/null && pkg-config --exists libseccomp; } || missing+=(libseccomp-dev)
    { command -v pkg-config >/dev/null && pkg-config --exists zlib; } || missing+=(zlib1g-dev)
    { command -v pkg-config >/dev/null && pkg-config --exists hwloc; } || missing+=(libhwloc-dev)
    command -v fusermount3 >/dev/null || missing+=(fuse3)
    # What Swift itself takes from the system: the libraries of its programs, git for the packages that the build fetches, and the
    # headers and start files that its C++ compiler looks for in that of GCC.
    swift build --version >/dev/null 2>&1 || missing+=(libcurl4-openssl-dev libncurses-dev libxml2-dev)
    command -v git >/dev/null || missing+=(git ca-certificates)
    command -v g++ >/dev/null || missing+=(g++)
    install_packages "${missing[@]}"
}

# Packages for the README's tour and the commands that `start` prints.
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
        say "The tour needs more packages; run as root: apt-get install ${missing[*]}"
    fi
}

# Packages for the tests. They start the first python3 in PATH, which must have numpy.
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
    command -v lspci >/dev/null || missing+=(pciutils)
    command -v daxctl >/dev/null || missing+=(daxctl)
    command -v cxl >/dev/null || missing+=(ndctl)
    { command -v aspell >/dev/null && aspell dicts | grep -qx en; } || missing+=(aspell aspell-en)
    [ -e /usr/include/numa.h ] || missing+=(libnuma-dev)
    python3 -c 'import numpy' 2>/dev/null || missing+=(python3 python3-numpy)
    # For lmdb the tests always start Debian's Python.
    /usr/bin/python3 -c 'import lmdb' 2>/dev/null || missing+=(python3 python3-lmdb)
    install_packages "${missing[@]}"
    # Linux's own HMM tests are a download of 140 MB; only CI runs them.
    if [ -n "${CI:-}" ] && [ -z "${LINUX_SOURCE:-}" ] && [ "$(id -u)" = 0 ] && ! compgen -G '/usr/src/linux-source-*' >/dev/null; then
        (install_packages linux-source-6.1) || say "The package linux-source-6.1 cannot be installed: Linux's HMM tests are skipped."
    fi
    python3 -c 'import numpy' 2>/dev/null || die "$(command -v python3) cannot import numpy; install numpy for it, or put another python3 first in PATH"
}

# Loads the module fuse if /dev/fuse does not exist; fails if it still does not.
load_fuse() {
    [ -c /dev/fuse ] || modprobe fuse 2>/dev/null || true
    [ -c /dev/fuse ]
}
