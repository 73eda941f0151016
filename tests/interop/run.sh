#!/usr/bin/env bash
# Tries clients that we did not write against a whole system. See README.md. Needs Python 3.11 or newer with pip.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
export INTEROP_FOLDER="${CARGO_TARGET_DIR:-$root/target}/interop"
export MARQUE_BIN_DIR="${MARQUE_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug}"
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

venv="$INTEROP_FOLDER/venv"
installed="$venv/installed.txt"
if ! cmp -s "$here/requirements.txt" "$installed"; then
  rm -rf "$venv"
  mkdir -p "$INTEROP_FOLDER"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$installed"
fi
exec "$venv/bin/python" "$here/run.py" "$@"
