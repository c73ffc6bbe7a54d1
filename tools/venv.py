# SPDX-License-Identifier: MIT
"""Make the virtual environment build/venv from requirements.txt."""

import os
import sys

import step

LOG = "build/log/venv.log"
FOLDER = "build/venv"


def main():
    # What is cleared behind a link belongs to somebody else.
    if os.path.islink(FOLDER):
        os.unlink(FOLDER)
    if not step.run(
        "Making a virtual environment", [sys.executable, "-m", "venv", "--clear", FOLDER], LOG
    ):
        sys.exit(f"'python3 -m venv' failed (see {LOG}): install python3-venv and run this again.")
    pip = [f"{FOLDER}/bin/python", "-m", "pip", "install", "--no-cache-dir", "--no-input"]
    pip += ["--disable-pip-version-check", "-r", "requirements.txt"]
    if not step.run("Installing Python packages", pip, LOG):
        sys.exit(
            "Could not install the Python packages of requirements.txt "
            f"(see {LOG}): check the network and run this again."
        )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
