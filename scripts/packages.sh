#!/usr/bin/env bash
# Installs a locked set, and no more: packages.sh cpu|cuda PYTHON [more requirements files…].
set -euo pipefail
accel=${1:?cpu or cuda} python=${2:?the environment\'s python}
shift 2
requirements=$(cd "$(dirname "$0")/../requirements" && pwd)
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

if [ "$accel" = cpu ]; then
    torch=$(grep '^torch==' "$requirements/cpu.txt")
    # From where pip is set up to look; else from PyTorch's own index of CPU builds.
    pip install --quiet --no-deps "$torch" 2>/dev/null ||
        pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch"
fi
more=()
for file in "$@"; do more+=(-r "$file"); done
pip install --quiet --no-deps -r "$requirements/$accel.txt" ${more[@]+"${more[@]}"}
