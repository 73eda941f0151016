#!/usr/bin/env bash
# Tries clients that we did not write against a whole system. See README.md. Needs Python 3.12 or newer with pip.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
export INTEROP_FOLDER="${CARGO_TARGET_DIR:-$root/target}/interop"
export MARQUE_BIN_DIR="${MARQUE_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug}"
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The first that is new enough; PYTHON names one outright.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; }
python="${PYTHON:-}"
if [ -z "$python" ]; then
  for candidate in python3 python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    if new_enough "$candidate"; then python="$candidate"; break; fi
  done
fi
if [ -z "$python" ] || ! new_enough "$python"; then
  echo "Python 3.12 or newer is needed: name one by PYTHON" >&2
  exit 2
fi

venv="$INTEROP_FOLDER/venv"
installed="$venv/installed.txt"
if ! cmp -s "$here/requirements.txt" "$installed"; then
  rm -rf "$venv"
  mkdir -p "$INTEROP_FOLDER"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$installed"
fi
exec "$venv/bin/python" "$here/run.py" "$@"
