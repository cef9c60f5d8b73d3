#!/usr/bin/env bash
# Runs the Autobahn test suite against src/socket/line.rs. The suite is written in Python 2 (its newest release,
# 25.10.1, too, which pip of Python 3 would install): it needs Python 2.7, named by PYTHON2 or found on PATH or in
# pyenv, and is installed into AUTOBAHN_VENV. Ends with 3 where there is none.
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
