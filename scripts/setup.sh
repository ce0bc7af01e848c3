#!/usr/bin/env bash
# Makes .venv with the locked set for this host (ACCEL=cpu|cuda) and Kodify itself in it.
set -euo pipefail
cd "$(dirname "$0")/.."
accel=${ACCEL:?cpu or cuda}
case $accel in cpu | cuda) ;; *)
    echo "ACCEL is $accel: set it to cpu or cuda." >&2
    exit 1
    ;;
esac
${PYTHON:-python3} -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Kodify needs Python 3.11 or newer: set PYTHON to one." >&2
    exit 1
}
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

echo "Installing the $accel set: about a minute, and longer where the downloads are slow."
if [ "$accel" = cpu ]; then
    torch=$(grep '^torch==' requirements/cpu.txt)
    # From where pip is set up to look; else from PyTorch's own index of CPU builds.
    pip install --quiet --no-deps "$torch" 2>/dev/null ||
        pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch"
fi
pip install --quiet --no-deps -r "requirements/$accel.txt" -r requirements/dev.txt
pip install --quiet --no-deps --no-build-isolation --editable .
