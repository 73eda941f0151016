#!/bin/sh
# The whole system in containers, on this machine.
#
#   cluster.sh up              images and keys (made once), start, wait until healthy
#   cluster.sh tour            the story of `marque tour` against it
#   cluster.sh kill SERVICE    kill -9 a service, start it again, wait until it is healthy
#   cluster.sh log             export the audit log and verify it offline
#   cluster.sh attest          enrol an agent in a container of its own, with the attestor's word on its process
#   cluster.sh test            all of the above: up, tour, attest, each service killed, both again, log; then down
#   cluster.sh status | logs   what runs; what it says
#   cluster.sh down            end it, and delete its volumes and keys
#
# MARQUE_DIR (default: deploy/.cluster), MARQUE_NATS_PORT (4222), MARQUE_SINK_PORT (7070), MARQUE_TAG (dev),
# MARQUE_PROJECT (marque), MARQUE_PROFILE (release; dev builds faster). `test` takes free ports. COMPOSE_PROFILES=
# (empty) starts no attestor.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
target=$(rustc -vV | sed -n 's/^host: //p')
case "${MARQUE_PROFILE:-release}" in dev) folder=debug ;; *) folder=${MARQUE_PROFILE:-release} ;; esac
marque="${CARGO_TARGET_DIR:-$root/target}/$target/$folder/marque"
project=${MARQUE_PROJECT:-marque}
export MARQUE_DIR="${MARQUE_DIR:-$here/.cluster}" MARQUE_TAG="${MARQUE_TAG:-dev}"
export MARQUE_NATS_PORT="${MARQUE_NATS_PORT:-4222}" MARQUE_SINK_PORT="${MARQUE_SINK_PORT:-7070}"
# Containers run as whoever owns the secrets: you, or where you are root, a user that is nobody.
if [ "$(id -u)" = 0 ]; then
  export MARQUE_UID=65532 MARQUE_GID=65532
else
  MARQUE_UID=$(id -u) MARQUE_GID=$(id -g)
  export MARQUE_UID MARQUE_GID
fi
export COMPOSE_PROFILES="${COMPOSE_PROFILES-attestor}"
services="nats revocation-broadcaster audit-sink issuer verifier gatekeeper"
case "$COMPOSE_PROFILES" in *attestor*) services="$services attestor" ;; esac
HEALTHY_SECONDS=90

compose() {
  if docker compose version >/dev/null 2>&1; then
    docker compose -p "$project" -f "$here/compose.yaml" "$@"
  else
    docker-compose -p "$project" -f "$here/compose.yaml" "$@"
  fi
}

listens() { # listens PORT: whether anybody does on this machine; Linux tells without a tool
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qi ":$(printf '%04X' "$1") [0-9A-F]*:0000 0A"
}

free_port() { # free_port FIRST: a port from FIRST on that nobody listens on; below those for outgoing connections
  port=$1
  while listens "$port"; do port=$((port + 1)); done
  echo "$port"
}

wait_healthy() { # wait_healthy SERVICE…
  deadline=$(($(date +%s) + HEALTHY_SECONDS))
  for service in "$@"; do
    until [ "$(docker inspect -f '{{.State.Health.Status}}' "$(compose ps -q "$service")" 2>/dev/null)" = healthy ]; do
      if [ "$(date +%s)" -ge "$deadline" ]; then
        echo "cluster.sh: $service is not healthy after $HEALTHY_SECONDS s; its last words:" >&2
        compose logs --tail=20 "$service" >&2
        exit 1
      fi
      sleep 0.2
    done
  done
}

case "${1:-help}" in
  up)
    "$here/build-images.sh" "$MARQUE_TAG"
    if [ ! -e "$MARQUE_DIR/bundle.jwt" ]; then
      "$marque" nats bootstrap "$MARQUE_DIR" --layout compose --attestor machine \
        --nats-port "$MARQUE_NATS_PORT" --sink-port "$MARQUE_SINK_PORT"
      if [ "$(id -u)" = 0 ]; then chown -R "$MARQUE_UID:$MARQUE_GID" "$MARQUE_DIR"; fi
    fi
    compose up -d
    # shellcheck disable=SC2086 # a list of words
    wait_healthy $services
    echo "healthy; next: $0 tour"
    ;;
  tour) "$marque" tour --dir "$MARQUE_DIR" ;;
  kill)
    service=${2:?cluster.sh kill SERVICE}
    container=$(compose ps -q "$service")
    docker kill -s KILL "$container" >/dev/null
    # What a supervisor does: compose itself leaves alone what a person has killed.
    docker start "$container" >/dev/null
    wait_healthy "$service"
    echo "$service was killed and is healthy again"
    ;;
  log)
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT INT TERM
    "$marque" log export "$copy" --dir "$MARQUE_DIR"
    "$marque" log verify "$copy" --dir "$MARQUE_DIR"
    ;;
  attest)
    said() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
    join=$("$marque" -j agent invite --dir "$MARQUE_DIR" --blueprint summarizer | said join_token)
    # The agent's container: the attestor's user, no capabilities, its socket.
    credential=$(printf %s "$join" | docker run --rm -i --user "$MARQUE_UID:$MARQUE_GID" --cap-drop ALL --read-only \
      --tmpfs /tmp:size=16m,mode=1777 --network "${project}_default" -v "${project}_attestor:/run/marque:ro" \
      "marque/marque:$MARQUE_TAG" -j -s nats://nats:4222 --timeout 30s agent enrol --home /tmp/agent --join - \
      --model example-small-1 --attestor /run/marque/attestor.sock | said credential)
    printf %s "$credential" | "$marque" -j token inspect - | grep -q '"process"' ||
      { echo "cluster.sh: the credential rests on no statement of the attestor" >&2; exit 1; }
    echo "an agent in a container was enrolled with the attestor's word on its process"
    ;;
  test)
    # A cluster of its own, whatever else runs here; it goes whether or not the test passes.
    MARQUE_PROJECT=${MARQUE_PROJECT:-marque-test} MARQUE_DIR=$(mktemp -d)/cluster
    MARQUE_NATS_PORT=$(free_port $((10000 + $$ % 20000)))
    MARQUE_SINK_PORT=$(free_port $((MARQUE_NATS_PORT + 1)))
    export MARQUE_PROJECT MARQUE_DIR MARQUE_NATS_PORT MARQUE_SINK_PORT
    trap '"$0" down; rmdir "$(dirname "$MARQUE_DIR")"' EXIT
    "$0" up
    "$0" tour
    "$0" attest
    for service in $services; do "$0" kill "$service"; done
    "$0" tour
    "$0" attest
    "$0" log
    ;;
  status) compose ps ;;
  logs) shift; compose logs "$@" ;;
  down)
    compose down -v --remove-orphans
    # By name, so that a MARQUE_DIR that points elsewhere loses nothing else.
    for made in keys blueprints config state nats.conf nats.url sink.page bundle.jwt bundle.digest; do
      rm -rf "${MARQUE_DIR:?}/$made"
    done
    rmdir "$MARQUE_DIR" 2>/dev/null || true
    ;;
  *)
    sed -n '2,15s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
