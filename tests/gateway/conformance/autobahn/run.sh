#!/usr/bin/env bash
# Runs the Autobahn test suite against the WebSocket connection of the gateway. The suite, including its
# newest release 25.10.1, needs Python 2.7: named by PYTHON2, or found on PATH or in pyenv. It is
# installed into AUTOBAHN_VENV. Exits with 3 without Python 2.7.
set -euo pipefail
cd "$(dirname "$0")/../../../.."

venv="${AUTOBAHN_VENV:-${CARGO_TARGET_DIR:-$PWD/target}/autobahn-venv}"
if [ ! -x "$venv/bin/wstest" ]; then
  python="${PYTHON2:-}"
  for found in "$(command -v python2.7 || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7; do
    [ -n "$python" ] || { [ -x "$found" ] && "$found" -c '' 2>/dev/null && python="$found"; } || true
  done
  [ -n "$python" ] || { echo "no Python 2.7: name one in PYTHON2" >&2; exit 3; }
  # Python 2.7 has no venv module.
  "$python" -m pip install --quiet --target "$venv.virtualenv" virtualenv==20.15.1
  PYTHONPATH="$venv.virtualenv" "$python" -m virtualenv --quiet "$venv"
  "$venv/bin/pip" install --quiet autobahntestsuite==25.10.1
fi
GATEWAY_WSTEST="$venv/bin/wstest" cargo test --locked --test gateway -- --nocapture autobahn::
