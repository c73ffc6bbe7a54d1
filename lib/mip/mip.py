"""Install packages over the network, as `mpremote mip install` does from the host.

mip.install("name"), mip.install("github:org/repo"), mip.install("http://host/package.json")
"""

# SPDX-License-Identifier: MIT

import os
import sys

import requests

_INDEX = "https://micropython.org/pi/v2"
_CHUNK = 4096


def install(package, index=None, target=None, version=None, mpy=True):
    """Install a package, or a single file by its URL, and what it asks for.

    Names are looked up in *index*, of MicroPython's layout. *target* is a folder; the first
    `…/lib` of `sys.path` if none is given. With *mpy*, compiled files for this board are preferred.
    Raises `OSError`, and `ValueError` for what is no package.
    """
    if target is None:
        libs = [path for path in sys.path if path.endswith("/lib")]
        if not libs:
            raise ValueError("sys.path has no folder lib: say the target")
        target = libs[0]
    if index is None:
        index = _INDEX
    _install(package, index.rstrip("/"), target, version, mpy, [])
    print("Done")


def _install(package, index, target, version, mpy, done):
    if (package, version) in done:
        return
    done.append((package, version))
    if "://" not in package and ":" not in package:
        url = "%s/package/%s/%s/%s.json" % (index, _mpy_version(mpy), package, version or "latest")
        print("Installing %s (%s) to %s" % (package, version or "latest", target))
        _from_json(url, index, target, version, mpy, done)
        return
    url = (
        package
        if package.rsplit("/", 1)[-1].find(".") > 0
        else package.rstrip("/") + "/package.json"
    )
    print("Installing", package, "to", target)
    if url.endswith(".json"):
        _from_json(url, index, target, version, mpy, done)
    elif url.endswith((".py", ".mpy")):
        _fetch(_rewritten(url, version), "%s/%s" % (target, url.rsplit("/", 1)[-1]))
    else:
        raise ValueError("no package: %r" % package)


def _mpy_version(mpy):
    return getattr(sys.implementation, "_mpy", 0) & 0xFF if mpy else "py"


def _from_json(url, index, target, version, mpy, done):
    with _get(_rewritten(url, version)) as answer:
        package = answer.json()
    base = url.rsplit("/", 1)[0]
    for path, short_hash in package.get("hashes", ()):
        _fetch("%s/file/%s/%s" % (index, short_hash[:2], short_hash), _inside(target, path))
    for path, source in package.get("urls", ()):
        if ":" not in source:
            source = "%s/%s" % (base, source)
        _fetch(_rewritten(source, version), _inside(target, path))
    for name, wanted in package.get("deps", ()):
        _install(name, index, target, wanted, mpy, done)


def _inside(target, path):
    """Where a file of a package goes; never out of the target."""
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("a package with a file at %r" % path)
    return "%s/%s" % (target, path)


def _rewritten(url, branch):
    for scheme, host, form in (
        ("github:", "https://raw.githubusercontent.com", "%s/%s/%s/%s/%s"),
        ("gitlab:", "https://gitlab.com", "%s/%s/%s/-/raw/%s/%s"),
    ):
        if url.startswith(scheme):
            parts = url[len(scheme) :].split("/", 2)
            if len(parts) < 3:
                raise ValueError("no file in %r" % url)
            return form % (host, parts[0], parts[1], branch or "HEAD", parts[2])
    return url


def _get(url):
    answer = requests.get(url)
    if answer.status_code != 200:
        answer.close()
        raise OSError("%s: status %d" % (url, answer.status_code))
    return answer


def _fetch(url, path):
    """Load a file; it is there whole, or as it was before."""
    _make_folders(path)
    part = path + ".part"
    buf = bytearray(_CHUNK)
    with _get(url) as answer:
        try:
            with open(part, "wb") as file:
                while True:
                    count = answer.raw.readinto(buf)
                    if not count:
                        break
                    file.write(memoryview(buf)[:count])
        except:
            os.remove(part)
            raise
    try:
        os.remove(path)
    except OSError:
        pass
    os.rename(part, path)
    print("Copied", path)


def _make_folders(path):
    at = path.find("/", 1)
    while at > 0:
        try:
            os.mkdir(path[:at])
        except OSError as error:
            if error.errno != 17:  # EEXIST
                raise
        at = path.find("/", at + 1)
