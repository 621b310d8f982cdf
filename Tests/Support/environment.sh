# SPDX-License-Identifier: Apache-2.0
#
# What install.sh, Tests/run and .ci/run share: root's rights, packages, the Swift toolchain.
# Sourced by bash; `die` must exist.

# What a release build links, and what links it.
build_packages=(
    ca-certificates binutils gcc g++ libc6-dev libstdc++-12-dev pkg-config git
    libfuse3-dev liblz4-dev libssl-dev libzstd-dev zlib1g-dev libtomlplusplus-dev
    # libcurl, and what its static library needs.
    libbrotli-dev libcurl4-openssl-dev libidn2-dev libnghttp2-dev libpsl-dev libssh2-1-dev
    libunistring-dev libsqlite3-dev
    # What the Swift toolchain itself loads.
    libcurl4 libedit2 libncurses6 libpython3.11 libsqlite3-0 libxml2 libz3-4 tzdata
)

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

# Installs those packages that are missing. The lists are fetched once per run of a script, and only
# if something is missing.
apt_install() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "apt-get is missing; install by hand: ${missing[*]}"
    if [[ -z ${apt_updated-} ]]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
        export apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# Where toolchains are looked for, beside PATH: the empty word.
swift_places() {
    printf '%s\n' '' /opt/swift/usr/bin /usr/local/swift/usr/bin /usr/share/swift/usr/bin \
        /opt/swift-*/usr/bin "$HOME"/.local/share/swiftly/bin "$HOME"/.swiftly/bin \
        "$HOME"/swift*/usr/bin
}

# The version of the Swift there, `6.3`; nothing if it does not start.
swift_version() {
    # Its first line: "Swift version 6.3.1 (swift-6.3.1-RELEASE)".
    { "$1" --version 2>/dev/null || true; } |
        sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p'
}

# Installs what a build needs, and puts a Swift toolchain of version 6.3 or later on PATH.
prepare_build() {
    local place swift version found=()
    while IFS= read -r place; do
        if swift=$(PATH=${place:-$PATH} command -v swift); then found+=("$swift"); fi
    done < <(swift_places)
    ((${#found[@]})) || die "no Swift toolchain was found in PATH or /opt/swift/usr/bin. $get_swift"
    # Before it is asked for its version: the toolchain loads libraries that are among these.
    apt_install "${build_packages[@]}"
    for swift in "${found[@]}"; do
        version=$(swift_version "$swift")
        if [[ -n $version && $(printf '%s\n' 6.3 "$version" | sort -V | head -n 1) == 6.3 ]]; then
            PATH=$(dirname "$swift"):$PATH
            export PATH
            return 0
        fi
        echo "$swift is of version ${version:-unknown: it does not start}" >&2
    done
    die "Swift 6.3 or later is needed. $get_swift"
}

get_swift='
Get one of version 6.3 or later from https://www.swift.org/install/linux/ (Debian 12, x86_64 or
aarch64), unpack it to /opt/swift, so that /opt/swift/usr/bin/swift exists, and run this again.'
