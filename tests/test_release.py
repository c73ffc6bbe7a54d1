# SPDX-License-Identifier: MIT
"""What make release puts together."""

import subprocess
import zipfile

import pytest
import release
from emulator import ROOT


@pytest.fixture
def released(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "RELEASE", tmp_path / "release")
    return release.put_together(release.version())


def test_the_sums_are_those_of_all_files(released):
    folder = released[0].parent
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True
    )
    listed = [line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert sorted(listed) == sorted(path.name for path in folder.iterdir() if path.suffix)


def test_a_release_is_the_wheel_the_firmware_and_the_licences(released):
    number = release.version()
    assert [path.name for path in released] == [
        f"licenses-{number}.zip",
        f"micropython_virt-{number}-py3-none-any.whl",
        f"qemu-virt-arm-{number}.bin",
        f"qemu-virt-arm-{number}.elf",
        "SHA256SUMS",
    ]
    assert "INSIDE.md" in zipfile.ZipFile(released[0]).namelist()


def test_a_version_that_the_changelog_does_not_have_is_refused():
    assert "CHANGELOG.md has no section '## 99.0'" in next(release.complaints("99.0"))


def test_the_changelog_has_changes_to_release():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased\n" in text or f"## {release.version()}" in text
