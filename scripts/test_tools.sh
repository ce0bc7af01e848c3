#!/usr/bin/env bash
# As root, where apt-get is: Node.js for the editors' agents, Chromium for the pages, docker-compose, and promtool, unpacked
# into .venv/tools (the package would start a Prometheus). Tests that miss one of them are skipped, and fail under CI.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || exit 0
wanted=()
command -v npm >/dev/null || wanted+=(nodejs npm)
command -v chromium >/dev/null || wanted+=(chromium fonts-liberation)
docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || wanted+=(docker-compose)
command -v promtool >/dev/null || [ -x .venv/tools/usr/bin/promtool ] || promtool=1
[ ${#wanted[@]} -gt 0 ] || [ -n "${promtool:-}" ] || exit 0
apt-get update -qq
[ ${#wanted[@]} -eq 0 ] || apt-get install -qq --yes --no-install-recommends "${wanted[@]}"
if [ -n "${promtool:-}" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root prometheus)
    dpkg -x "$folder"/prometheus_*.deb "$folder/unpacked"
    mkdir -p .venv/tools/usr/bin
    mv "$folder/unpacked/usr/bin/promtool" .venv/tools/usr/bin/
fi
