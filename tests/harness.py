# SPDX-License-Identifier: MIT
"""What the board needs to import files that the host sends; this one runs on the board."""

import io
import sys

import vfs

_FILE = 0x8000
_ENOENT = 2


class Sources:
    """A filesystem of the files that the host sends, so that they import as modules do."""

    def __init__(self):
        self.files = {}

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def content(self, path):
        try:
            return self.files[path.lstrip("/")]
        except KeyError:
            raise OSError(_ENOENT)

    def stat(self, path):
        return (_FILE, 0, 0, 0, 0, 0, len(self.content(path)), 0, 0, 0)

    def open(self, path, mode):
        return io.BytesIO(self.content(path))


def mount_sources(point="/tests"):
    sources = Sources()
    vfs.mount(sources, point)
    sys.path.insert(0, point)
    return sources.files
