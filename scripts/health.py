"""The image's health check: exit code 0 where Kodify can generate. PORT and TLS_CERT are the container's; the rest of
Kodify's settings don't matter to it, and reading them would take a second each time."""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request


def main() -> int:
    scheme = "https" if os.environ.get("TLS_CERT") else "http"
    address = f"{scheme}://127.0.0.1:{os.environ.get('PORT') or 8000}/health"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # itself, by no name of the certificate
    try:
        with urllib.request.urlopen(address, timeout=5, context=context) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
