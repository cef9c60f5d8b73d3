# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends pkg-config libssl-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist && cp target/dist/codex-gateway /codex-gateway

FROM debian:bookworm-slim
# bubblewrap is codex's sandbox. Agents often use git, python3 and ripgrep.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap ca-certificates git python3 ripgrep \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 gateway \
    && install --directory --owner gateway --group gateway /home/gateway/.codex
COPY --from=build /codex-gateway /usr/local/bin/codex-gateway
USER gateway
# GATEWAY_IMAGE: orchestrators have 3 seconds (a third of drain_timeout_ms) to see that the gateway is not ready, before
# it stops listening. gateway.drain_delay_ms in the file, or GATEWAY_DRAIN_DELAY_MS, sets another time.
ENV HOST=0.0.0.0 PORT=8080 CODEX_HOME=/home/gateway/.codex GATEWAY_IMAGE=1
EXPOSE 8080
# HOST is not loopback, so the gateway requires GATEWAY_API_KEY and exits with an error without it.
# Secrets may come from files: GATEWAY_API_KEY_FILE and the like.
# The gateway is process 1: it waits for orphans of commands itself, and no other process of its user
# has its environment.
ENTRYPOINT ["/usr/local/bin/codex-gateway"]
