# SPDX-License-Identifier: MIT
"""The set-up: done once, and what cannot be done is one sentence that says what to do."""

import os
import shutil
import subprocess
import sys

import pytest
from emulator import ROOT, built
from terminal import outside_make

PROGRAMS = ["make", "sh", "sed", "mkdir", "touch", "env", "nproc", "cmp", "rm", "id"]
TOOLS = ["qemu-system-arm", "arm-none-eabi-gcc", "gcc", "as", "mcopy", "mkfs.fat", "qemu-img"]
TOOLS += ["sfdisk", "openssl"]
APT = """
for word in "$@"; do
    case $word in
        indextargets) printf 'http://mirror.invalid/debian\\tDebian\\tDebian\\n' ;;
        source) {source} ;;
    esac
done
"""


class Front:
    """The front door with nothing built, on a machine that has only the programs linked here."""

    def __init__(self, folder):
        self.folder = folder / "project"
        self.programs = folder / "bin"
        self.programs.mkdir()
        shutil.copytree(ROOT / "tools", self.folder / "tools")
        for name in ("Makefile", "requirements.txt"):
            shutil.copy(ROOT / name, self.folder)
        self.link(*PROGRAMS)
        (self.programs / "python3").symlink_to(os.path.realpath(sys.executable))

    def link(self, *names):
        for name in names:
            found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
            (self.programs / name).symlink_to(found)

    def script(self, name, text):
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def fails(self, *command):
        """Run a command that must fail, and return the sentence that it ends in."""
        environment = {"PATH": str(self.programs), "HOME": str(self.folder)}
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode != 0
        sentence, *rest = result.stderr.splitlines()
        assert all(line.startswith("make") for line in rest), result.stderr
        assert sentence.endswith(".")
        return sentence


@pytest.fixture
def front(tmp_path):
    return Front(tmp_path)


def test_no_apt_names_the_packages_to_install(front):
    sentence = front.fails("make", "run")
    assert "no apt-get" in sentence
    assert "qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi gcc" in sentence


def test_no_root_and_no_sudo_names_the_packages_to_install(front):
    front.script("apt-get", "exit 1")
    as_user = "import os, sys; os.geteuid = lambda: 1000; sys.path.insert(0, 'tools'); "
    sentence = front.fails("python3", "-c", as_user + "import packages; packages.main()")
    assert sentence.startswith("Run 'apt-get install qemu-system-arm")


def test_packages_that_do_not_install_are_named(front):
    front.script("apt-get", "exit 100")
    sentence = front.fails("python3", "tools/packages.py")
    assert sentence.startswith("Could not install qemu-system-arm")


def test_what_only_tests_need_is_left_out_without_apt(front):
    result = subprocess.run(
        [sys.executable, "tools/packages.py", "riscv"],
        cwd=front.folder,
        env={"PATH": str(front.programs)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and not result.stderr
    assert "gcc-riscv64-unknown-elf" in result.stdout and "left out" in result.stdout


@pytest.mark.parametrize("known, name", [(0, "qemu-system-riscv "), (1, "qemu-system-misc ")])
def test_riscvs_qemu_is_asked_for_by_the_name_that_the_lists_have(front, known, name):
    front.script("apt-get", "exit 100")
    front.script("apt-cache", f"exit {known}")
    sentence = front.fails("python3", "tools/packages.py", "riscv")
    assert sentence.startswith(f"Could not install {name}")


def test_a_missing_battery_is_named(front):
    sentence = front.fails("python3", "tools/battery.py", "build/battery")
    assert "no apt-get" in sentence and "rng-tools5 ent" in sentence
    front.script("apt-get", "exit 100")
    sentence = front.fails("python3", "tools/battery.py", "build/battery")
    assert sentence.startswith("Could not fetch rng-tools5 ent")


@pytest.mark.parametrize(
    "manager, command",
    [
        ("dnf", "sudo dnf install qemu-system-arm arm-none-eabi-gcc-cs arm-none-eabi-newlib gcc"),
        ("brew", "brew install qemu gcc-arm-embedded gcc mtools"),
    ],
)
def test_another_systems_packages_have_its_names(front, manager, command):
    front.script(manager, "exit 1")
    sentence = front.fails("make", "run")
    assert "no apt-get" in sentence and f"'{command}" in sentence


def test_neither_apt_nor_git_asks_for_git_or_a_checkout(front):
    front.link(*TOOLS)
    sentence = front.fails("make", "run")
    assert "no apt-get and no git" in sentence and "MICROPYTHON_DIR=" in sentence


def test_no_debian_mirror_and_no_git_asks_for_git_or_a_checkout(front):
    front.link(*TOOLS)
    front.script("apt-get", "exit 0")
    sentence = front.fails("make", "run")
    assert "no Debian mirror" in sentence and "MICROPYTHON_DIR=" in sentence


def release(folder, tag):
    """A repository that has nothing but a file and this tag; returns its commit."""

    def git(*words):
        person = ["-c", "user.name=x", "-c", "user.email=x@y.z", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", folder, *person, *words]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()

    folder.mkdir()
    git("init")
    (folder / "README.md").write_text("A release.\n")
    git("add", ".")
    git("commit", "-m", "Release")
    git("tag", tag)
    return git("rev-parse", "HEAD")


def fetch_by_git(front, tmp_path, change):
    """Fetch MicroPython where there is no apt-get; *change* alters what is known of its source."""
    front.link(*TOOLS, "git", "dirname", "cat", "uname")
    code = f"""
import sys; sys.path.insert(0, 'tools'); import source
known = source.SOURCES['micropython']; known.repository = {str(tmp_path / "release")!r}; {change}
sys.argv[1:] = ['micropython', 'build/micropython-1.25.0']; source.main()
"""
    return ["python3", "-c", code]


def test_without_apt_the_release_comes_by_git(front, tmp_path):
    commit = release(tmp_path / "release", "v1.25.0")
    command = fetch_by_git(front, tmp_path, f"known.commit = {commit!r}")
    environment = {"PATH": str(front.programs), "HOME": str(front.folder)}
    subprocess.run(command, cwd=front.folder, env=environment, check=True, timeout=60)
    tree = front.folder / "build/micropython-1.25.0"
    assert (tree / "README.md").read_text() == "A release.\n" and not (tree / ".git").exists()


def test_another_commit_of_that_name_is_refused(front, tmp_path):
    commit = release(tmp_path / "release", "v1.25.0")
    sentence = front.fails(*fetch_by_git(front, tmp_path, "pass"))
    assert commit in sentence and "MICROPYTHON_DIR=" in sentence
    assert not list((front.folder / "build").glob("micropython*"))


def test_a_repository_that_cannot_be_reached_is_named(front, tmp_path):
    sentence = front.fails(*fetch_by_git(front, tmp_path, "pass"))
    assert "check the network" in sentence and str(tmp_path / "release") in sentence


def test_no_network_says_so(front):
    front.link(*TOOLS)
    front.script("apt-get", APT.format(source="exit 100"))
    sentence = front.fails("make", "run")
    assert "check the network" in sentence and "MICROPYTHON_DIR=" in sentence


def test_another_tarball_is_refused(front):
    front.link(*TOOLS)
    bogus = "echo bogus >micropython_1.25.0+ds.orig.tar.xz"
    front.script("apt-get", APT.format(source=bogus))
    sentence = front.fails("make", "run")
    assert "sha256" in sentence and "MICROPYTHON_DIR=" in sentence
    assert not (front.folder / "build/micropython-1.25.0").exists()


def test_wrong_checkout_is_refused(front):
    front.link(*TOOLS)
    sentence = front.fails("make", "run", "MICROPYTHON_DIR=/nowhere")
    assert sentence.startswith("/nowhere is not a MicroPython checkout")


def test_second_build_does_nothing():
    images = [built(name) for name in ("firmware.elf", "firmware.bin", "flash.img")]
    before = [image.stat().st_mtime_ns for image in images]
    environment = outside_make()
    subprocess.run(["make", "flash"], cwd=ROOT, check=True, env=environment)
    assert [image.stat().st_mtime_ns for image in images] == before
