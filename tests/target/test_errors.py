"""Every error of virtio is an OSError that says its number."""

import pytest
import virtio
from check import raises

pytestmark = pytest.mark.board(interface=("modern",))

ERRNO = {
    "QueueFull": 28,
    "NotReady": 11,
    "WrongToken": 22,
    "AlreadyUsed": 16,
    "DmaError": 12,
    "NoDevice": 19,
    "IoError": 5,
    "Unsupported": 95,
    "Timeout": 110,
    "DeviceFault": 71,
}


def fail(kind):
    raise kind("why")


def test_each_kind_has_its_errno():
    for name, errno in ERRNO.items():
        kind = getattr(virtio, name)
        error = raises(kind, fail, kind, errno=errno)
        assert isinstance(error, virtio.VirtioError) and isinstance(error, OSError)
        assert "why" in str(error)


def test_misuse_is_a_ValueError():
    assert issubclass(virtio.InvalidParam, ValueError)
    assert not issubclass(virtio.InvalidParam, OSError)
