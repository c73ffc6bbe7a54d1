# SPDX-License-Identifier: MIT
"""The wheel as a stranger has it: a fresh environment, no compiler, and the example's files."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile

import pytest
from emulator import ROOT

EXAMPLE = ROOT / "examples/datalog"
DOCUMENT = ROOT / "docs/testing-your-project.md"
MOST = 3_000_000  # bytes of the wheel


@pytest.fixture(scope="module")
def built():
    (path,) = (ROOT / "build/dist").glob("micropython_virt-*.whl")
    return path


@pytest.fixture(scope="module")
def stranger(built, tmp_path_factory):
    """Run a command in a copy of the example, with nothing but the wheel and QEMU."""
    folder = tmp_path_factory.mktemp("stranger")
    project, tools = folder / "datalog", folder / "bin"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    tools.mkdir()
    (tools / "qemu-system-arm").symlink_to(shutil.which("qemu-system-arm"))
    environment = {"PATH": f"{folder}/venv/bin:{tools}", "HOME": str(folder)}
    # How pip finds its packages is the machine's affair.
    environment |= {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{built}[cov]", "-r", EXAMPLE / "requirements.txt"], check=True)

    def run(*command, status=0):
        result = subprocess.run(
            command,
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert result.returncode == status, result.stdout
        return result.stdout

    run.project = project
    return run


def test_the_wheel_is_pure_python_and_small(built):
    assert built.name.endswith("-py3-none-any.whl")
    assert built.stat().st_size < MOST
    names = zipfile.ZipFile(built).namelist()
    assert "micropython_virt/images/1.25.0.elf" in names
    assert "micropython_virt/images/1.25.0-settrace.elf" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_licence_of_each_part_inside_is_there(built):
    names = {name.rpartition("/")[2] for name in zipfile.ZipFile(built).namelist()}
    table = (ROOT / "host/licenses/INSIDE.md").read_text()
    texts = re.findall(r"[\w.-]+\.txt", table)
    assert texts and set(texts) <= names
    parts = re.sub(r"[^a-z0-9]", "", table.lower())
    for folder in linked():
        assert re.sub(r"[^a-z0-9]", "", folder.partition("_")[0]) in parts, folder


def linked():
    """The folders of MicroPython's lib/ from which something is in the firmware."""
    lib = ROOT / "build/wheel/1.25.0/firmware/lib"
    return [folder.name for folder in lib.iterdir() if any(folder.rglob("*.o"))]


def test_the_wheels_version_is_that_of_the_library(built):
    text = (ROOT / "lib/virtio/__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.*)"$', text, re.MULTILINE)
    assert built.name == f"micropython_virt-{version}-py3-none-any.whl"
    assert f'"{version}"' in (ROOT / "lib/package.json").read_text()


def test_the_example_passes(stranger):
    assert "9 passed" in stranger("python", "-m", "pytest")
    assert "9 passed" in stranger("pytest", "-n2")


def test_the_examples_coverage_is_whole(stranger):
    stranger("pytest", "--board-cov")
    assert re.search(r"datalog.py +\d+ +\d+ +\d\d", stranger("coverage", "report"))


def test_a_program_runs(stranger):
    code = "from datalog import DataLog; import sys; print(list(DataLog('log'))); sys.exit(3)"
    code = f"import sys; sys.path.append('src'); {code}"
    assert stranger("micropython-virt", "-c", code, status=3) == "[]\n"


def blocks(language):
    text = DOCUMENT.read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    found = [re.sub(r"\s+#.*", "", line) for line in lines]
    return [line for line in found if line not in ELSEWHERE and not line.startswith("pip ")]


# The document's own; what needs a terminal is in test_wheel_command.py.
ELSEWHERE = ("micropython-virt", "micropython-virt serve --link board.tty", "pytest --cov")
FILES = {
    "script.py": "import sys\nprint(sys.argv)\n",
    "package/__init__.py": "",
    "package/__main__.py": "print('runs')\n",
    "src/mylibrary.py": """
import json

def save(path, value):
    with open(path, "w") as file:
        json.dump(value, file)

def load(path):
    with open(path) as file:
        return json.load(file)
""",
}


@pytest.fixture(scope="module")
def reader(stranger):
    """The stranger, who has typed in what the document shows."""
    on_board, on_host = blocks("py")
    files = {"tests/board/test_files.py": on_board, "tests/test_host.py": on_host} | FILES
    for name, text in files.items():
        path = stranger.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return stranger


@pytest.mark.parametrize("command", commands())
def test_command_of_the_document_does_what_it_says(reader, command):
    reader(*shlex.split(command))


def test_python_of_the_document_passes(reader):
    assert "2 passed" in reader("pytest", "tests/board/test_files.py", "tests/test_host.py")


def test_failure_looks_as_in_the_document(reader):
    path = reader.project / "tests/board/test_fails.py"
    (shown,) = [block for block in blocks("text") if "AssertionError" in block]
    path.write_text(blocks("py")[0].replace('== {"count": 3}', '== {"count": 4}'))
    output = reader("pytest", path, status=1)
    path.unlink()
    lines = [line.rstrip() for line in shown.splitlines() if not line.startswith("tests/")]
    assert "\n".join(lines) in "\n".join(line.rstrip() for line in output.splitlines())


@pytest.mark.parametrize("name", [".github/workflows/test.yml", ".gitlab-ci.yml"])
def test_the_document_shows_the_examples_own_files_for_ci(name):
    """Its commands are those that are tried here."""
    text = (EXAMPLE / name).read_text()
    assert text in DOCUMENT.read_text()
    for command in ("pip install -r requirements.txt", "pytest"):
        assert f"{command}\n" in text or f"{command} --junitxml=report.xml\n" in text
