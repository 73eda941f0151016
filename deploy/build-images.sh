#!/bin/sh
# Builds static release binaries and puts each on an empty image. Nothing is pulled from a registry.
#
#   build-images.sh [TAG]      TAG defaults to dev
#
# NATS_SERVER names the nats-server binary; without it the one that `marque dev` would take is used.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
tag=${1:-${MARQUE_TAG:-dev}}
target=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-$root/target}
services="issuer verifier revocation-broadcaster audit-sink"

# 1. Static binaries: the C library is linked in, so that an empty image can run them.
packages="-p marque"
for service in $services; do packages="$packages -p marque-$service"; done
# shellcheck disable=SC2086 # a list of words
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
  cargo build --manifest-path "$root/Cargo.toml" --release --locked --target "$target" $packages
built="$target_dir/$target/release"

# 2. The broker.
server=${NATS_SERVER:-$("$built/marque" nats server)}

# 3. One context for each image: its binary, and the folders that it needs.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT INT TERM
image() { # image NAME BINARY [FURTHER-BINARY]
  mkdir -p "$stage/$1/bin" "$stage/$1/rootfs/tmp" "$stage/$1/rootfs/state" "$stage/$1/rootfs/data" "$stage/$1/rootfs/marque"
  # Whoever the container runs as writes in its own volume; nobody else is in there.
  chmod 1777 "$stage/$1/rootfs/tmp" "$stage/$1/rootfs/state" "$stage/$1/rootfs/data"
  install -m 0755 "$2" "$stage/$1/bin/app"
  if [ $# -gt 2 ]; then install -m 0755 "$3" "$stage/$1/bin/"; fi
  # The classic builder needs no plugin and is enough for three instructions.
  DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} docker build -q -t "marque/$1:$tag" -f "$here/Dockerfile" "$stage/$1" 2>/dev/null |
    sed "s|^|marque/$1:$tag |"
}
for service in $services; do image "$service" "$built/marque-$service"; done
image marque "$built/marque"
image nats-server "$server" "$built/marque"
