#!/bin/sh
# Builds static release binaries and puts each on an empty image. Nothing is pulled from a registry.
#
#   build-images.sh [TAG]      TAG defaults to dev
#
# NATS_SERVER names the nats-server binary; without it the one that `marque dev` would take is used. MARQUE_PROFILE is
# cargo's profile: release, or dev where a quick look matters more than speed and size.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
tag=${1:-${MARQUE_TAG:-dev}}
target=$(rustc -vV | sed -n 's/^host: //p')
target_dir=$(mkdir -p "${CARGO_TARGET_DIR:-$root/target}" && cd "${CARGO_TARGET_DIR:-$root/target}" && pwd)
profile=${MARQUE_PROFILE:-release}
services="issuer verifier revocation-broadcaster audit-sink gatekeeper attestor"

# 1. Static binaries: the C library is linked in, so that an empty image can run them.
packages="-p marque"
for service in $services; do packages="$packages -p marque-$service"; done
static="-C target-feature=+crt-static"
# RUSTFLAGS in the environment takes the place of the flags in `.cargo/config.toml`; flags of one target join them.
if [ -n "${RUSTFLAGS:-}" ]; then export RUSTFLAGS="$RUSTFLAGS $static"; else unset RUSTFLAGS; fi
# shellcheck disable=SC2086 # a list of words
(cd "$root" && cargo build --target-dir "$target_dir" --config "target.$target.rustflags=\"$static\"" \
  --profile "$profile" --locked --target "$target" $packages)
case "$profile" in dev) folder=debug ;; *) folder=$profile ;; esac
built="$target_dir/$target/$folder"

# 2. The broker.
server=${NATS_SERVER:-$("$built/marque" nats server)}

# The classic builder needs no plugin, and is enough for three instructions.
if ! docker buildx version >/dev/null 2>&1; then export DOCKER_BUILDKIT=0; fi

# 3. One context for each image: its binary, and the folders that it needs.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT INT TERM
image() { # image NAME BINARY [FURTHER-BINARY]
  mkdir -p "$stage/$1/bin" "$stage/$1/rootfs/marque"
  for folder in tmp state data run/marque; do mkdir -p "$stage/$1/rootfs/$folder"; done
  # Whoever the container runs as writes in its own volume; nobody else is in there.
  chmod 1777 "$stage/$1/rootfs/tmp" "$stage/$1/rootfs/state" "$stage/$1/rootfs/data" "$stage/$1/rootfs/run/marque"
  install -m 0755 "$2" "$stage/$1/bin/app"
  if [ $# -gt 2 ]; then install -m 0755 "$3" "$stage/$1/bin/"; fi
  if ! docker build -q -t "marque/$1:$tag" -f "$here/Dockerfile" "$stage/$1" >"$stage/said" 2>&1; then
    cat "$stage/said" >&2
    exit 1
  fi
  echo "marque/$1:$tag"
}
for service in $services; do image "$service" "$built/marque-$service"; done
image marque "$built/marque"
image nats-server "$server" "$built/marque"
