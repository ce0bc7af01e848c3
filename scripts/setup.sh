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

echo "Installing the $accel set: a few minutes, and longer where the downloads are slow."
scripts/packages.sh "$accel" .venv/bin/python requirements/dev.txt
.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
