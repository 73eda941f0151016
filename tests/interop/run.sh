#!/usr/bin/env bash
# Tries clients that we did not write against a whole system. See README.md. Needs Python 3.11 or newer with
# pip; the readers of logs need 3.12, and Go's needs Go; each is left out, said aloud, where
# that is not there.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
export INTEROP_FOLDER="${CARGO_TARGET_DIR:-$root/target}/interop"
export MARQUE_BIN_DIR="${MARQUE_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug}"
export INTEROP_IGNORED=""
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The first that is new enough for all, else for most; PYTHON names one outright.
at_least() { "$1" -c "import sys; sys.exit(sys.version_info < (3, $2))" >/dev/null 2>&1; }
python="${PYTHON:-}"
if [ -z "$python" ]; then
  for candidate in python3 python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    if at_least "$candidate" 12; then python="$candidate"; break; fi
  done
fi
python="${python:-python3}"
requirements="$here/requirements.txt"
if ! at_least "$python" 12; then
  at_least "$python" 11 || { echo "Python 3.11 or newer is needed: name one by PYTHON" >&2; exit 2; }
  echo "ignored: test_log and test_sumdb, whose aics-tlog asks for Python 3.12" >&2
  INTEROP_IGNORED+=" test_log test_sumdb"
  mkdir -p "$INTEROP_FOLDER"
  requirements="$INTEROP_FOLDER/requirements.txt"
  grep -v '^aics-tlog' "$here/requirements.txt" > "$requirements"
fi

venv="$INTEROP_FOLDER/venv"
installed="$venv/installed.txt"
if ! cmp -s "$requirements" "$installed"; then
  rm -rf "$venv"
  mkdir -p "$INTEROP_FOLDER"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$requirements"
  cp "$requirements" "$installed"
fi

# Go's reader, against the library as Debian packs it, or as GOPATH has it.
export GO111MODULE=off GOPATH="${GOPATH:-/usr/share/gocode}"
if ! command -v go >/dev/null; then
  echo "ignored: test_sumdb, whose reader needs Go (Debian: golang-go)" >&2
  INTEROP_IGNORED+=" test_sumdb"
elif [ ! -d "$GOPATH/src/golang.org/x/mod/sumdb/tlog" ]; then
  echo "ignored: test_sumdb, whose reader needs golang.org/x/mod in $GOPATH (Debian: golang-golang-x-mod-dev)" >&2
  INTEROP_IGNORED+=" test_sumdb"
else
  (cd "$here/sumdb" && go build -o "$INTEROP_FOLDER/sumdb" .)
fi
exec "$venv/bin/python" "$here/run.py" "$@"
