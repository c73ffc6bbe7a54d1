# SPDX-License-Identifier: MIT
"""The project's own workflow, which runs elsewhere, says nothing that no test here has said."""

import re

import pytest
from emulator import ROOT
from ruamel.yaml import YAML

WORKFLOW = ROOT / ".github/workflows/test.yml"
INSTALLS = ("apt-get update && ", "sudo apt-get update && ", "brew install ")


def commands():
    jobs = YAML(typ="safe").load(WORKFLOW)["jobs"]
    found = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    return [command for command in found if not command.startswith(INSTALLS)]


def shown():
    """The commands of the documents, which test_docs.py and test_wheel_install.py run."""
    pages = [ROOT / "README.md", ROOT / "docs/testing-your-project.md"]
    text = "\n".join(page.read_text() for page in pages)
    return {
        re.sub(r"\s+#.*", "", line).strip(" -").removeprefix("run: ") for line in text.splitlines()
    }


@pytest.mark.parametrize("command", commands())
def test_each_command_is_one_of_the_documents(command):
    assert command in shown()
