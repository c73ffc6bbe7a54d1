"""A folder of the host as a filesystem: MicroPython's VFS protocol on `P9`."""

# SPDX-License-Identifier: MIT

import gc
from array import array
from struct import unpack_from

import shared_file
from micropython import const

from ..platform import board

# From layout.py, by `make layout`.

# 9P: how a session is held, and what firmware/shared_file.c knows of an open file, in words.
_ROOT_FID = const(0)  # of the folder itself
_NAMES_MAX = const(16)  # in one walk
_FILE_FID = const(0)
_FILE_SESSION = const(1)  # in which it was opened
_FILE_CLOSED = const(0x10000)  # no session

# errno
_EBUSY = const(16)
_EINVAL = const(22)
_EROFS = const(30)

# End of layout.py.

_FOLDER = const(0x4000)
_FILE = const(0x8000)
_LINK = const(0xA000)
_FORMAT = const(0xF000)  # of a mode

# The type of a qid.
_QID_FOLDER = const(0x80)
_QID_LINK = const(0x02)
# An entry of a folder says what it is by the number that Linux has for that.
_DT_FOLDER = const(4)
_ENTRY = const(24)  # bytes of an entry, without its name
_ENTRIES = const(32 * 1024)  # bytes of them that are asked for at a time

# Flags of lopen and lcreate, Linux's.
_RDONLY = const(0)
_WRONLY = const(1)
_RDWR = const(2)
_CREATE = const(0o100)
_EXCLUSIVE = const(0o200)
_TRUNCATE = const(0o1000)
_APPEND = const(0o2000)
_REMOVE_FOLDER = const(0x200)
_FILE_MODE = const(0o666)
_FOLDER_MODE = const(0o777)

# As firmware/shared_file.c has them.
_MODE_READ = const(1)
_MODE_WRITE = const(2)
_MODE_APPEND = const(4)
_MODE_TEXT = const(8)

_DATA = const(11)  # where an answer's data begin
_AT_MODE = const(1)  # in what `getattr` returns
_AT_SIZE = const(6)
_NOTHING = (b"", b".")
_DOTS = (b".", b"..")

_NAME_MAX = const(255)
_LINKS_MAX = const(40)  # as Linux has it

_ENOENT = const(2)
_ENXIO = const(6)
_EEXIST = const(17)
_ENOTDIR = const(20)
_EISDIR = const(21)
_ENAMETOOLONG = const(36)
_ELOOP = const(40)

_MODES = {
    "r": (_MODE_READ, 0),
    "w": (_MODE_WRITE, _CREATE | _TRUNCATE),
    "x": (_MODE_WRITE, _CREATE | _EXCLUSIVE),
    "a": (_MODE_WRITE | _MODE_APPEND, _CREATE | _APPEND),
}


class Share:
    """The folder of a `P9`. Links are followed; one that leads out of the folder stays inside it.

    Each call is done as a whole: a Ctrl-C and scheduled functions wait for its end. Files that are
    open when it is unmounted stay open.
    """

    def __init__(self, p9, readonly=False):
        self.source = p9
        self._p9 = p9
        self._readonly = readonly
        self._cwd = []  # names without links
        self._written = []  # the words of files that were opened for that

    def __repr__(self):
        return "<Share %s>" % self._p9.tag

    def mount(self, readonly, mkfs):
        self._readonly = self._readonly or readonly

    def umount(self):
        pass

    def close(self):
        """The driver was closed."""

    def sync(self):
        """Have the host write to its disk what was written to files that are still open."""
        self._do(Share._sync)

    def open(self, path, mode):
        return self._do(Share._open, path, mode)

    def chdir(self, path):
        self._do(Share._chdir, path)

    def getcwd(self):
        return "/" + b"/".join(self._cwd).decode()

    def stat(self, path):
        return self._do(Share._stat, path)

    def statvfs(self, path):
        return self._do(Share._statvfs, path)

    def ilistdir(self, path):
        """(name, type, inode, size) of each entry. A name that is no UTF-8 has U+FFFD in it."""
        return iter(self._do(Share._list, path))

    def mkdir(self, path):
        self._change(Share._mkdir, path)

    def remove(self, path):
        self._change(Share._unlink, path, 0)

    def rmdir(self, path):
        self._change(Share._unlink, path, _REMOVE_FOLDER)

    def rename(self, old, new):
        self._change(Share._rename, old, new)

    def _change(self, function, *arguments):
        if self._readonly:
            raise OSError(_EROFS)
        self._do(function, *arguments)

    def _do(self, function, *arguments):
        call = function, self, arguments
        try:
            return board.undisturbed(_call, call)
        except MemoryError:
            # Nothing is collected in there.
            gc.collect()
            return board.undisturbed(_call, call)

    # Paths

    def _names(self, path):
        """The names of a path, from the folder itself on; ".." is still in there."""
        names = [] if path.startswith("/") else list(self._cwd)
        for name in path.encode().split(b"/"):
            if len(name) > _NAME_MAX:
                raise OSError(_ENAMETOOLONG)
            if b"\0" in name:
                raise OSError(_EINVAL)
            if name not in _NOTHING:
                names.append(name)
        return names

    def _find(self, names, follow=True, left=None):
        """A fid of what the names lead to; the names without links, and the type of its qid."""
        left = left or [_LINKS_MAX]
        names = self._without_dots(names, left)
        while True:
            fid, count, kind = self._walk(names)
            if kind != _QID_LINK or count == len(names) and not follow:
                try:
                    return fid, names, kind
                except:  # no memory for that
                    self._p9.clunk(fid)
                    raise
            names = self._without_dots(self._through(fid, names, count), left)
            left[0] -= 1
            if not left[0]:
                raise OSError(_ELOOP)

    def _without_dots(self, names, left):
        if b".." not in names:
            return names
        at = names.index(b"..")
        left[0] -= 1
        if not left[0]:
            raise OSError(_ELOOP)
        fid, before, kind = self._find(names[:at], True, left)
        self._p9.clunk(fid)
        if kind != _QID_FOLDER:
            raise OSError(_ENOTDIR)
        return self._without_dots(before[:-1] + names[at + 1 :], left)

    def _through(self, fid, names, count):
        """The names with what the link says that so many of them lead to; ends its fid."""
        try:
            says = self._p9.readlink(fid)
        finally:
            self._p9.clunk(fid)
        before = [] if says.startswith(b"/") else names[: count - 1]
        target = [name for name in says.split(b"/") if name not in _NOTHING]
        return before + target + names[count:]

    def _walk(self, names):
        """A fid of as many names as lead to a link, or of all; how many, and the type there."""
        p9 = self._p9
        fid = p9.take_fid()
        known = False
        try:
            count, kind = 0, _QID_FOLDER
            while count < len(names) and kind != _QID_LINK or not known:
                base = fid if known else _ROOT_FID
                step = names[count : count + _NAMES_MAX]
                types = p9.walk(base, fid, step)
                if len(types) < len(step):
                    # As far as it goes. The next name will say why it goes no further.
                    step = step[: len(types)]
                    if not step or len(p9.walk(base, fid, step)) < len(step):
                        raise OSError(_ENOENT)
                known = True
                count += len(types)
                if types:
                    kind = types[-1]
            return fid, count, kind
        except:
            p9.end_fid(fid, known)
            raise

    def _parent(self, names):
        """The fid of the folder that has what is named last, and that name."""
        names = self._without_dots(names, [_LINKS_MAX])
        if not names:
            raise OSError(_EBUSY)
        fid, _, kind = self._find(names[:-1])
        try:
            if kind != _QID_FOLDER:
                raise OSError(_ENOTDIR)
            return fid, names[-1]
        except:
            self._p9.clunk(fid)
            raise

    # Files

    def _open(self, path, mode):
        kind, flags = _mode(mode)
        if kind & _MODE_WRITE and self._readonly:
            raise OSError(_EROFS)
        # All that takes memory comes before there is a fid.
        words = array("I", (0, _FILE_CLOSED, 0, 0))
        file = shared_file.open(self._p9, words, kind)
        if kind & _MODE_WRITE:
            self._written = [each for each in self._written if each[_FILE_SESSION] != _FILE_CLOSED]
            self._written.append(words)
        session = self._p9.session  # before, too: there may be no stack for the call
        words[_FILE_FID] = self._open_fid(self._names(path), flags)
        words[_FILE_SESSION] = session
        return file

    def _open_fid(self, names, flags):
        for _ in range(_LINKS_MAX):
            try:
                fid, _, kind = self._find(names)
            except OSError as error:
                if error.errno != _ENOENT or not flags & _CREATE:
                    raise
            else:
                return self._open_found(fid, kind, flags)
            folder, name = self._parent(names)
            made = False
            try:
                self._p9.lcreate(folder, name, flags, _FILE_MODE)
                made = True
                return folder
            except OSError as error:
                if error.errno not in (_EEXIST, _ELOOP) or flags & _EXCLUSIVE:
                    raise
            finally:
                if not made:
                    self._p9.clunk(folder)
            # A link that leads to nothing yet; or it is there now.
            fid, names, kind = self._find(names, False)
            if kind == _QID_LINK:
                names = self._through(fid, names, len(names))
            else:
                self._p9.clunk(fid)
        raise OSError(_ELOOP)

    def _open_found(self, fid, kind, flags):
        p9 = self._p9
        try:
            if flags & _EXCLUSIVE:
                raise OSError(_EEXIST)
            if kind == _QID_FOLDER:
                raise OSError(_EISDIR)
            if p9.getattr(fid)[_AT_MODE] & _FORMAT != _FILE:
                raise OSError(_ENXIO)  # to open a FIFO is to wait until somebody does so, too
            p9.lopen(fid, flags & ~_CREATE)
        except:
            p9.clunk(fid)
            raise
        return fid

    def _sync(self):
        for words in self._written:
            if words[_FILE_SESSION] == self._p9.session:
                self._p9.fsync(words[_FILE_FID])

    # What is asked and done by name

    def _chdir(self, path):
        fid, names, kind = self._find(self._names(path))
        self._p9.clunk(fid)
        if kind != _QID_FOLDER:
            raise OSError(_ENOTDIR)
        self._cwd = names

    def _stat(self, path):
        return self._stat_names(self._names(path))

    def _stat_names(self, names):
        fid, _, _ = self._find(names)
        try:
            ino, mode, uid, gid, nlink, _, size, _, _, atime, mtime, ctime = self._p9.getattr(fid)
        finally:
            self._p9.clunk(fid)
        return mode, ino, 0, nlink, uid, gid, size, atime, mtime, ctime

    def _statvfs(self, path):
        fid, _, _ = self._find(self._names(path))
        try:
            _, size, blocks, free, available, files, spare, _, length = self._p9.statfs(fid)
        finally:
            self._p9.clunk(fid)
        return size, size, blocks, free, available, files, spare, spare, 0, length

    def _mkdir(self, path):
        folder, name = self._parent(self._names(path))
        try:
            self._p9.mkdir(folder, name, _FOLDER_MODE)
        finally:
            self._p9.clunk(folder)

    def _unlink(self, path, flags):
        folder, name = self._parent(self._names(path))
        try:
            self._p9.unlinkat(folder, name, flags)
        finally:
            self._p9.clunk(folder)

    def _rename(self, old, new):
        folder, name = self._parent(self._names(old))
        try:
            new_folder, new_name = self._parent(self._names(new))
            try:
                self._p9.renameat(folder, name, new_folder, new_name)
            finally:
                self._p9.clunk(new_folder)
        finally:
            self._p9.clunk(folder)

    # Listing

    def _list(self, path):
        fid, names, kind = self._find(self._names(path))
        try:
            if kind != _QID_FOLDER:
                raise OSError(_ENOTDIR)
            entries = self._entries(fid)
            asked = [raw for raw, dt, _ in entries if dt != _DT_FOLDER]
            found = self._p9.getattrs(fid, asked)
        finally:
            self._p9.clunk(fid)
        listed, at = [], 0
        for raw, dt, ino in entries:
            mode, size = _FOLDER, 0
            if dt != _DT_FOLDER:
                mode, size = self._kind(names, raw, found[at])
                at += 1
            listed.append((_text(raw), mode, ino, size))
        return listed

    def _kind(self, names, raw, attributes):
        """What the entry of a folder is, a link what it leads to, and its size."""
        if attributes is None:
            return 0, 0  # it is gone
        mode, size = attributes[_AT_MODE], attributes[_AT_SIZE]
        if mode & _FORMAT == _LINK:
            try:
                status = self._stat_names(names + [raw])
            except OSError:
                return 0, 0  # to nothing
            mode, size = status[0], status[6]
        mode &= _FORMAT
        if mode == _FOLDER:
            return mode, 0
        return (mode, size) if mode == _FILE else (0, 0)

    def _entries(self, fid):
        """(name in bytes, Linux's number of what it is, inode) of each entry of a folder."""
        p9 = self._p9
        opened = p9.take_fid()
        known = False
        try:
            p9.walk(fid, opened, ())
            known = True
            p9.lopen(opened, _RDONLY)
            answer = bytearray(_ENTRIES)
            entries, offset = [], 0
            while True:
                end = p9.readdir(opened, offset, answer)
                if end == _DATA:
                    return entries
                before = offset
                offset = self._parse(answer, end, entries)
                if offset == before:
                    p9.refuse("a folder without end")
        finally:
            p9.end_fid(opened, known)

    def _parse(self, answer, end, entries):
        at = _DATA
        while at < end:
            if at + _ENTRY > end:
                self._p9.refuse("half an entry")
            ino, offset, dt, length = unpack_from("<QQBH", answer, at + 5)
            at += _ENTRY
            if at + length > end:
                self._p9.refuse("half a name")
            raw = bytes(answer[at : at + length])
            at += length
            if raw not in _DOTS:
                entries.append((raw, dt, ino))
        return offset


def _call(call):
    function, share, arguments = call
    share._p9.begin()
    return function(share, *arguments)


def _mode(mode):
    """What the file is for, and Linux's flags."""
    main = None
    kind = _MODE_TEXT
    plus = False
    for letter in mode:
        if letter in _MODES and main is None:
            main = letter
        elif letter == "b":
            kind = 0
        elif letter == "+":
            plus = True
        elif letter != "t":
            raise ValueError("mode %r" % mode)
    does, flags = _MODES[main or "r"]
    if plus:
        return kind | does | _MODE_READ | _MODE_WRITE, flags | _RDWR
    return kind | does, flags | (_WRONLY if does & _MODE_WRITE else _RDONLY)


def _text(raw):
    try:
        return raw.decode()
    except UnicodeError:
        pass
    text = ""
    at = 0
    while at < len(raw):
        for end in range(min(at + 4, len(raw)), at, -1):
            try:
                text += raw[at:end].decode()
                break
            except UnicodeError:
                pass
        else:
            text += "\ufffd"
            end = at + 1
        at = end
    return text
