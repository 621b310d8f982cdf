#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds lazypull on Debian 12 and installs it; with --demo it then does the main job once, on an
# image made on the spot.
set -euo pipefail

usage() {
    cat <<'EOT'
Usage: ./install.sh [--prefix DIR] [--demo]

Installs what the build needs (apt), builds, and installs below DIR (default: /usr/local) the
executable, a link for each applet, the manual pages and the completions for bash; and sbin/
mount.lazypull, for `mount -t lazypull` and fstab. mount(8) looks for that in /sbin, where a link is
made unless DIR lies outside of /usr.

  --prefix DIR   install below DIR
  --demo         then build an image from Debian packages, push it into a registry on the loopback
                 address, convert it there, compare it with its source, mount it lazily from there
                 and run a Python program in it; then have containerd, with lazypull as its
                 snapshotter, start a container of it, beside one of the image as it was
  --help         print this help
EOT
}

say() { printf '==> %s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

prefix=/usr/local
demo=no
while (($#)); do
    case $1 in
        --prefix) [[ ${2-} == /* ]] || die '--prefix needs an absolute path'; prefix=$2; shift ;;
        --prefix=/*) prefix=${1#--prefix=} ;;
        --demo) demo=yes ;;
        --help | -h) usage; exit 0 ;;
        *) usage >&2; die "unknown argument '$1'" ;;
    esac
    shift
done

cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
# shellcheck source=Tests/Support/environment.sh
. Tests/Support/environment.sh

# What the demonstration makes, to be taken apart on every way out.
work=''
registry_process=''
# Files with the numbers of root's processes, in the order in which they are ended.
daemons=()
cleanup() {
    local status=$?
    trap - EXIT
    [[ -n $work ]] || exit "$status"
    # The program in the mount first, then the mount, then the files.
    if mountpoint -q "$work/mnt" 2>/dev/null || grep -qs " $work/mnt " /proc/mounts; then
        as_root umount "$work/mnt" || as_root umount -l "$work/mnt" || true
    fi
    local file image
    # With its last snapshot an image is unmounted, and with the last image nothing outlives the
    # service.
    if [[ -S $work/containerd.sock ]]; then
        for image in $(as_root ctr --address "$work/containerd.sock" images ls -q); do
            as_root ctr --address "$work/containerd.sock" images rm --sync "$image" >/dev/null || true
        done
        wait_for 10 has_no_mounts || true
    fi
    for file in "${daemons[@]}"; do end_daemon "$file"; done
    if [[ -n $registry_process ]]; then
        kill "$registry_process" 2>/dev/null || true
        wait "$registry_process" 2>/dev/null || true
    fi
    # Never into a mount that would not go.
    as_root rm -rf --one-file-system "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The seconds since the first argument, with two decimals.
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'; }

install_files() {
    local bin=$prefix/bin
    say "installing below $prefix"
    as_root install -d "$bin" "$prefix/share/man/man1" "$prefix/share/man/man5" \
        "$prefix/share/bash-completion/completions"
    # A running program keeps its old file: install(1) makes a new one.
    as_root install -m 755 .build/release/lazypull "$bin/lazypull"
    as_root "$bin/lazypull" --install "$bin"
    as_root install -m 644 man/*.1 "$prefix/share/man/man1/"
    as_root install -m 644 man/*.5 "$prefix/share/man/man5/"
    install_mount_helper
    local completions=$prefix/share/bash-completion/completions name
    "$bin/lazypull" --completions bash | as_root tee "$completions/lazypull" >/dev/null
    # bash looks for a file of the command's own name.
    for name in $("$bin/lazypull" --list); do
        as_root ln -sf lazypull "$completions/lazypull-$name"
    done
    say "installed $("$bin/lazypull" --version): $bin/lazypull, $(echo "$bin"/lazypull-*) and" \
        "$prefix/sbin/mount.lazypull"
}

# The name by which mount(8) calls the executable, where it looks for it: /sbin alone. An
# installation elsewhere, for a test or a package, changes nothing outside of its prefix.
install_mount_helper() {
    as_root install -d "$prefix/sbin"
    as_root ln -sfn ../bin/lazypull "$prefix/sbin/mount.lazypull"
    case $prefix in
        /usr | /usr/*) ;;
        *) return 0 ;;
    esac
    [[ $prefix/sbin -ef /sbin ]] || as_root ln -sfn "$prefix/bin/lazypull" /sbin/mount.lazypull
}

# A field of the last statistics line of the mount's log.
statistic() { sed -n "s/.* statistics .*\b$1=\([0-9]*\).*/\1/p" "$work/mount.log" | tail -n 1; }

wait_for() { # seconds, command...
    local limit=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < limit)) || return 1
        sleep 0.05
    done
}

# Starts Debian's registry on a port that is free, and says where it is.
start_registry() {
    local port
    port=$(python3 -c 'import socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])')
    registry=127.0.0.1:$port
    mkdir "$work/registry"
    cat >"$work/registry.yml" <<EOT
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "$registry"}
EOT
    docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
    registry_process=$!
    # /dev/tcp is bash's own.
    wait_for 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null ||
        die "docker-registry does not start: $(cat "$work/registry.log")"
}

# The bytes that the registry has sent so far.
bytes_sent() {
    grep -o 'http.response.written=[0-9]*' "$work/registry.log" |
        awk -F= '{ sum += $2 } END { print sum + 0 }'
}

# Starts a daemon of root's.
start_daemon() { # name, command...
    local name=$1
    shift
    daemons=("$work/$name.pid" "${daemons[@]}")
    # shellcheck disable=SC2016
    as_root sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$work/$name.pid" "$@" \
        >"$work/$name.log" 2>&1 &
}

end_daemon() { # pid file
    [[ -s $1 ]] || return 0
    local process
    process=$(<"$1")
    as_root kill "$process" 2>/dev/null || return 0
    wait_for 15 has_ended "$process" || as_root kill -9 "$process" || true
}

has_ended() { ! as_root kill -0 "$1" 2>/dev/null; }

has_no_mounts() { ! grep -qs " $work/snapshots/mounts/" /proc/mounts; }

# Starts containerd in directories of its own, with lazypull as a snapshotter.
start_containerd() {
    local lazypull=$1 socket=$work/snapshotter.sock
    apt_install runc stargz-snapshotter
    command -v containerd >/dev/null || apt_install containerd
    cat >"$work/containerd.toml" <<EOT
version = 2
root = "$work/containerd"
state = "$work/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$work/containerd.sock"
[ttrpc]
  address = "$work/containerd.sock.ttrpc"
[proxy_plugins.lazypull]
  type = "snapshot"
  address = "$socket"
EOT
    start_daemon snapshotter "$lazypull" serve-snapshotter --config /dev/null --plain-http \
        --root "$work/snapshots" --address "$socket" --admin-address "$work/admin.sock"
    wait_for 10 test -S "$socket" ||
        die "the snapshotter does not start: $(cat "$work/snapshotter.log")"
    start_daemon containerd containerd --config "$work/containerd.toml"
    wait_for 20 as_root ctr --address "$work/containerd.sock" version >/dev/null 2>&1 ||
        die "containerd does not start: $(tail -n 5 "$work/containerd.log")"
}

# Pulls an image and starts a container of it; prints what that took.
start_container() { # snapshotter, image
    local snapshotter=$1 image=$2 began pulled before output first last
    before=$(bytes_sent)
    began=$EPOCHREALTIME
    if [[ $snapshotter == overlayfs ]]; then
        as_root ctr --address "$work/containerd.sock" images pull --plain-http \
            --snapshotter overlayfs "$image" >"$work/pull.log" 2>&1
    else
        as_root ctr-remote --address "$work/containerd.sock" images rpull --plain-http \
            --snapshotter "$snapshotter" "$image" >"$work/pull.log" 2>&1
    fi || die "the pull fails: $(tail -n 5 "$work/pull.log")"
    pulled=$(seconds_since "$began")
    output=$(as_root ctr --address "$work/containerd.sock" run --rm --snapshotter "$snapshotter" \
        "$image" "demo-$snapshotter" /bin/sh -c 'date +%s.%N; exec /usr/bin/python3 -c "
import json, ssl, sqlite3, http.server, time
http.server.HTTPServer((str(), 0), http.server.BaseHTTPRequestHandler)
print(time.time())"') || die 'the container does not run'
    first=${output%%$'\n'*}
    last=${output##*$'\n'}
    # The registry may still be writing its log.
    sleep 0.5
    awk -v name="$snapshotter" -v pulled="$pulled" -v began="$began" -v first="$first" \
        -v last="$last" -v bytes="$(($(bytes_sent) - before))" 'BEGIN {
        printf "%-24s pull %.2f s, ENTRYPOINT %.2f s, ready %.2f s, fetched %.1f MiB\n", \
            name, pulled, first - began, last - began, bytes / 1048576
    }'
}

run_demo() {
    local lazypull=$prefix/bin/lazypull began registry times=()
    apt_install debootstrap docker-registry python3
    [[ -e /dev/fuse ]] || as_root modprobe fuse || true
    [[ -e /dev/fuse ]] || die '/dev/fuse is missing: the kernel needs FUSE for the mount'
    # World-readable, because root and the caller both use it; not /tmp, which may be memory.
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/lazypull-demo.XXXXXX")
    mkdir "$work/mnt"

    say 'building an image from Debian packages (debootstrap, python3)'
    began=$EPOCHREALTIME
    as_root "$root/Tests/Support/demo-image" "$work/image"
    as_root chown -R "$(id -u):$(id -g)" "$work/image"
    times+=("build the image:$(seconds_since "$began")")

    say 'push it into a registry'
    start_registry
    began=$EPOCHREALTIME
    "$lazypull" push "oci:$work/image:demo" "docker://$registry/demo:plain"
    times+=("push:$(seconds_since "$began")")

    say 'convert, from registry to registry'
    began=$EPOCHREALTIME
    "$lazypull" convert "docker://$registry/demo:plain" "docker://$registry/demo:lazy"
    times+=("convert:$(seconds_since "$began")")

    say 'check against the source'
    began=$EPOCHREALTIME
    "$lazypull" check --against "docker://$registry/demo:plain" "docker://$registry/demo:lazy"
    times+=("check --against:$(seconds_since "$began")")

    say 'mount, cold'
    began=$EPOCHREALTIME
    as_root "$lazypull" mount --cache-dir "$work/cache" --log-file "$work/mount.log" \
        "docker://$registry/demo:lazy" "$work/mnt"
    times+=("mount:$(seconds_since "$began")")

    say 'run a Python program in it'
    began=$EPOCHREALTIME
    as_root chroot "$work/mnt" /usr/bin/python3 -c '
import json, platform, sqlite3, ssl
version = sqlite3.connect(":memory:").execute("select sqlite_version()").fetchone()[0]
print(json.dumps({"python": platform.python_version(), "ssl": ssl.OPENSSL_VERSION, "sqlite": version}))'
    times+=("first run of python3:$(seconds_since "$began")")
    began=$EPOCHREALTIME
    as_root chroot "$work/mnt" /usr/bin/python3 -c 'import json, sqlite3, ssl'
    times+=("second run of python3:$(seconds_since "$began")")

    as_root umount "$work/mnt"
    # The line is written when the process ends, which is after the unmount.
    as_root chmod a+r "$work/mount.log"
    wait_for 10 grep -q ' statistics ' "$work/mount.log" ||
        die "the mount left no statistics in $work/mount.log"

    say 'start containers: containerd with overlayfs and the image as it was, and with lazypull'
    start_containerd "$lazypull"
    times+=("$(start_container overlayfs "$registry/demo:plain")")
    times+=("$(start_container lazypull "$registry/demo:lazy")")
    report "${times[@]}"
}

report() {
    local fetched image entry
    fetched=$(statistic fetched-bytes)
    image=$(statistic image-bytes)
    say 'result'
    awk -v f="$fetched" -v i="$image" 'BEGIN {
        printf "fetched %.1f MiB of the %.1f MiB the image holds: %.1f %%\n", f / 1048576, i / 1048576, 100 * f / i
    }'
    for entry in "$@"; do
        case $entry in
            *' pull '*) printf '%s\n' "$entry" ;;
            *) printf '%-24s %8s s\n' "${entry%%:*}" "${entry#*:}" ;;
        esac
    done
}

prepare_build
say 'building (release)'
swift build -c release --product lazypull
install_files
[[ $demo == no ]] || run_demo
