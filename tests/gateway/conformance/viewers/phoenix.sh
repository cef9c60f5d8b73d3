#!/usr/bin/env bash
# Shows a conversation of two turns, one with a tool call, in Arize Phoenix, and checks over its API the
# session, its two traces, and the nested AGENT, LLM and TOOL spans.
#
#   tests/gateway/conformance/viewers/phoenix.sh          # checks and ends
#   tests/gateway/conformance/viewers/phoenix.sh --stay   # keeps running, for a browser
#
# CI does not run it: Phoenix has some two hundred packages. They are installed into PHOENIX_VENV.
set -euo pipefail
cd "$(dirname "$0")/../../../.."

target="${CARGO_TARGET_DIR:-$PWD/target}"
venv="${PHOENIX_VENV:-$target/phoenix-venv}"
version=20.26.1
if ! "$venv/bin/python" -c "from importlib.metadata import version; assert version('arize-phoenix') == '$version'" 2>/dev/null; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "arize-phoenix==$version"
fi
cargo build --locked
exec "$venv/bin/python" -B tests/gateway/conformance/viewers/phoenix.py "$venv/bin/phoenix" "$target/debug/codex-gateway" "$@"
