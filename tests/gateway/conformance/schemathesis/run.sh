#!/usr/bin/env bash
# Runs schemathesis, all phases, over /openapi.json of the built binary with an API key and the demo model.
# schemathesis.toml, beside this file, lists what is excluded and why. SCHEMATHESIS_VENV is where schemathesis is
# installed; GATEWAY_BINARY is a binary to test instead of the one that cargo builds. Arguments go to schemathesis.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../../.."
target="${CARGO_TARGET_DIR:-$PWD/target}"

venv="${SCHEMATHESIS_VENV:-$target/schemathesis-venv}"
wanted=$(cat "$here/requirements.txt")
if [ "$("$venv/bin/pip" freeze 2>/dev/null | grep -i '^schemathesis==' || true)" != "$wanted" ]; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi
if [ -z "${GATEWAY_BINARY:-}" ]; then
  # Of the whole workspace, as the tests are built: another selection would build the dependencies again.
  cargo build --locked --workspace --bin codex-gateway
  GATEWAY_BINARY="$target/debug/codex-gateway"
fi

# Not under the system's temporary folder: core makes no helper aliases there.
mkdir -p "$target/tmp"
home=$(mktemp -d "$target/tmp/schemathesis-XXXXXX")
gateway=
stop() {
  if [ -n "$gateway" ]; then kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; fi
  rm -rf "$home"
}
trap stop EXIT
# Nothing of the developer's machine: no provider keys, so the demo model answers.
env -i PATH="$PATH" HOME="$home" CODEX_HOME="$home" PORT=0 GATEWAY_API_KEY=schemathesis \
  RUST_LOG="error,codex_gateway=warn" "$GATEWAY_BINARY" >"$home/gateway.log" 2>&1 &
gateway=$!
address=
for _ in $(seq 600); do
  address=$(sed -n 's/.* on http:\/\/\([^ ]*\).*/\1/p' "$home/gateway.log" | head -n 1)
  [ -n "$address" ] && break
  kill -0 "$gateway" 2>/dev/null || break
  sleep 0.1
done
[ -n "$address" ] || { echo "the gateway did not start:" >&2; cat "$home/gateway.log" >&2; exit 1; }

failed=0
SCHEMATHESIS_HOOKS="$here/hooks.py" "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run \
  "http://$address/openapi.json" "$@" || failed=$?
if ! kill -0 "$gateway" 2>/dev/null; then
  echo "the gateway ended during the run:" >&2
  failed=1
fi
[ "$failed" = 0 ] || tail -n 20 "$home/gateway.log" >&2
exit "$failed"
