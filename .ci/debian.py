"""Installs the Debian packages that the tests need when root, and otherwise names them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED = {
    "mosquitto": "mosquitto",
    "victoria-metrics": "victoria-metrics",
    "node": "nodejs",
    "npm": "npm",
    "softhsm2-util": "softhsm2",
    "openssl": "openssl",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "/usr/include/modbus/modbus.h": "libmodbus-dev",
}


def main() -> int:
    """Install or name what is missing; a machine without them still runs the other tests."""
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"
    missing = [
        package
        for program, package in NEEDED.items()
        if not (shutil.which(program) or (Path(program).is_absolute() and Path(program).exists()))
    ]
    if not missing:
        return 0
    if os.geteuid() != 0:
        print(f"== the tests need these Debian packages: apt-get install {' '.join(missing)}")
        return 0
    print(f"== installing {' '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"stdout": subprocess.DEVNULL, "env": environment}
    subprocess.run(["apt-get", "update"], check=False, **quiet)
    # The packages would start their own servers; tests start private ones.
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    return subprocess.run(command, check=False, **quiet).returncode


if __name__ == "__main__":
    sys.exit(main())
