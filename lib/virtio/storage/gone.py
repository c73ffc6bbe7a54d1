"""The disk of a filesystem that is not mounted any more."""

# SPDX-License-Identifier: MIT

from micropython import const

# From layout.py, by `make layout`.

# errno
_ENODEV = const(19)

# End of layout.py.


class _Gone:
    """Answers ENODEV, to the filesystem and to files that are still open."""

    def readblocks(self, block_num, buf, offset=None):
        raise OSError(_ENODEV)

    writeblocks = readblocks

    def flush(self):
        raise OSError(_ENODEV)


GONE = _Gone()
