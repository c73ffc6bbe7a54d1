"""Who has a disk: one filesystem at a time, and one that is gone has nothing of it any more."""

import gc
import os

import vfs
import virtio
from check import raises
from disk0 import Disk, pattern
from virtio import AlreadyUsed, Partition

ENODEV = 19
KINDS = ("FAT", "littlefs")


def by_hand(kind, device):
    return (vfs.VfsFat if kind == "FAT" else vfs.VfsLfs2)(device)


def write(name):
    with open(name, "wb") as file:
        file.write(b"data" * 2000)


def refused(device):
    """Everything that would make a second owner is refused."""
    raises(AlreadyUsed, virtio.mount, device, "/second")
    for kind in KINDS:
        raises(AlreadyUsed, virtio.format, device, kind, confirm="erase")
        raises(AlreadyUsed, by_hand, kind, device)
    raises(AlreadyUsed, vfs.VfsFat.mkfs, device)
    raises(AlreadyUsed, vfs.VfsLfs2.mkfs, device)
    raises(AlreadyUsed, vfs.mount, device, "/second")


def check_owner(disk, whole, part, overlapping, apart):
    for kind in KINDS:
        for owner, others in ((whole, (part, apart)), (part, (whole, overlapping))):
            for how in ("virtio", "by hand"):
                virtio.format(owner, kind, confirm="erase")
                if how == "virtio":
                    virtio.mount(owner, "/m")
                else:
                    vfs.mount(by_hand(kind, owner), "/m")
                with open("/m/file", "w") as file:
                    file.write("mine")
                for device in (owner, Partition(owner)) + others:
                    refused(device)
                assert open("/m/file").read() == "mine"
                vfs.umount("/m")
                virtio.format(others[0], kind, confirm="erase")


def test_what_is_mounted_has_no_second_owner():
    with Disk() as disk:
        parts = Partition(disk, 64, 4096), Partition(disk, 4000, 4096), Partition(disk, 9000, 4096)
        check_owner(disk, disk, *parts)
        part, _, apart = parts
        for one, other in ((part, apart), (apart, part)):
            virtio.format(one, "FAT", confirm="erase")
            virtio.mount(one, "/m")
            virtio.format(other, "littlefs", confirm="erase")
            virtio.mount(other, "/n")
            vfs.umount("/m")
            vfs.umount("/n")


def test_a_mount_that_failed_owns_nothing():
    with Disk() as disk:
        disk.writeblocks(0, bytes(65536))
        raises(OSError, virtio.mount, disk, "/m", errno=ENODEV)
        virtio.format(disk, "FAT", confirm="erase")
        virtio.mount(disk, "/m")
        vfs.umount("/m")
        part, other = Partition(disk, 0, 4096), Partition(disk, 4096, 4096)
        for device in part, other:
            virtio.format(device, "FAT", confirm="erase")
        virtio.mount(part, "/m")
        raises(OSError, virtio.mount, other, "/m", errno=1)  # EPERM: something is there
        virtio.mount(other, "/n")
        vfs.umount("/n")
        vfs.umount("/m")


def test_files_that_are_open_at_umount_cannot_be_written_any_more():
    with Disk() as disk:
        for kind in KINDS:
            for other in KINDS:
                virtio.format(disk, kind, confirm="erase")
                virtio.mount(disk, "/m")
                files = [open("/m/old%d" % n, "wb") for n in range(5)]
                for file in files:
                    file.write(b"old" * 2000)
                with open("/m/kept", "wb") as file:
                    file.write(b"kept" * 2000)
                reader = open("/m/kept", "rb")
                folder = os.ilistdir("/m")
                vfs.umount("/m")
                errno = 5 if kind == "FAT" else ENODEV
                raises(OSError, files[0].write, b"x" * 5000, errno=errno)
                raises(OSError, files[1].flush, errno=errno)
                raises(OSError, files[2].close, errno=errno)
                raises(OSError, reader.read, errno=errno)
                try:
                    list(folder)
                except OSError as error:
                    assert error.errno == errno
                virtio.format(disk, other, confirm="erase")
                virtio.mount(disk, "/m")
                for n in range(5):
                    with open("/m/n%d" % n, "w") as file:
                        file.write("new%d" % n * 500)
                for file in files[3:]:
                    raises(OSError, file.close, errno=errno)
                file = files = reader = folder = None
                gc.collect()
                vfs.umount("/m")
                virtio.mount(disk, "/m")
                assert sorted(os.listdir("/m")) == ["n0", "n1", "n2", "n3", "n4"], (kind, other)
                for n in range(5):
                    assert open("/m/n%d" % n).read() == "new%d" % n * 500
                vfs.umount("/m")


def test_a_disk_that_is_closed_under_its_filesystem():
    for kind in KINDS:
        with Disk() as disk:
            virtio.format(disk, kind, confirm="erase")
            virtio.mount(disk, "/m")
            file = open("/m/file", "wb")
            file.write(b"synced")
            file.flush()
            file.write(b"lost" * 2000)
        errno = 5 if kind == "FAT" else ENODEV
        raises(OSError, file.flush, errno=errno)
        with Disk() as disk:
            raises(OSError, write, "/m/other", errno=errno)
            virtio.mount(disk, "/n")
            assert open("/n/file", "rb").read() == b"synced"
            with open("/n/file", "wb") as other:
                other.write(b"other")
            try:
                file.close()
            except OSError as error:  # FatFs has said so at the flush, and does not again
                assert error.errno == errno
            raises(OSError, vfs.umount, "/m", errno=ENODEV)
            vfs.umount("/n")
            virtio.mount(disk, "/n")
            assert open("/n/file", "rb").read() == b"other"
            vfs.umount("/n")
            file = None
            gc.collect()


def test_a_disk_that_is_reset_under_its_filesystem():
    for kind in KINDS:
        with Disk() as disk:
            virtio.format(disk, kind, confirm="erase")
            virtio.mount(disk, "/m")
            file = open("/m/file", "wb")
            file.write(b"before" * 1000)
            disk.reset()
            file.write(b"after")
            file.close()
            vfs.umount("/m")
            virtio.mount(disk, "/m")
            assert open("/m/file", "rb").read() == b"before" * 1000 + b"after"
            vfs.umount("/m")
    with Disk() as disk:
        for n in range(0, 16384, 64):
            disk.writeblocks(n, pattern(n, 64))
