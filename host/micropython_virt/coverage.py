# SPDX-License-Identifier: MIT
"""The lines that ran on the board, as the file that coverage.py reads.

A firmware with sys.settrace says which lines ran. They are written as one more data file beside
those of other processes where coverage.py runs in this session too, which puts them together;
otherwise as its one data file.
"""

import ast
import uuid
from pathlib import Path

from . import settings
from .folder import POINT

SUFFIX = "board"

_lines = {}


def unusable():
    """The sentence for why nothing can be measured, "" if it can."""
    try:
        import coverage
    except ImportError:
        return "--board-cov needs coverage: pip install 'micropython-virt[cov]'."
    if coverage.Coverage().config.branch:
        return "--board-cov measures lines, not branches: turn branch off in coverage's settings."
    return ""


def add(text):
    for file, numbers in ast.literal_eval(text).items():
        _lines.setdefault(file, set()).update(numbers)


def finish(config):
    """Write what this process has gathered; put together what all have, if nobody else does."""
    import coverage

    measurer = coverage.Coverage()
    name = measurer.config.data_file
    worker = hasattr(config, "workerinput")
    elsewhere = coverage.Coverage.current() is not None or _pytest_cov(config)
    data = coverage.CoverageData(name, suffix=f"{SUFFIX}.{uuid.uuid4().hex}")
    data.add_lines(measured(config))
    data.write()
    _lines.clear()
    if worker or elsewhere:
        return
    whole = coverage.CoverageData(name)
    whole.erase()
    for path in Path(name).parent.glob(f"{Path(name).name}.{SUFFIX}.*"):
        part = coverage.CoverageData(str(path))
        part.read()
        whole.update(part)
        path.unlink()
    whole.write()


def _pytest_cov(config):
    return config.pluginmanager.hasplugin("_cov")


def measured(config):
    """The lines of the project's own files, by their names here; those of the tests are not."""
    tests = settings.folders(config)
    found = {}
    for file, numbers in _lines.items():
        path = config.rootpath / file.removeprefix(POINT + "/")
        if not any(path.is_relative_to(folder) for folder in tests):
            found[str(path)] = sorted(numbers)
    return found
