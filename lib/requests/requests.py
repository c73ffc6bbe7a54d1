"""HTTP requests, as the package of that name has them.

answer = requests.get("http://10.0.2.2:8000/data.json")
print(answer.status_code, answer.json())
answer.close()
"""

# SPDX-License-Identifier: MIT

import socket

_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECTS_MAX = 10
_CHUNK = 512


class Response:
    """An answer. Its body is read from `raw` as it comes, or all at once by `content` and its kin.

    `status_code` is a number, `headers` a dict by names in lower case. Close it when done.
    """

    def __init__(self, raw, status_code, reason, headers):
        self.raw = raw
        self.status_code = status_code
        self.reason = reason
        self.headers = headers
        self.encoding = "utf-8"
        self._content = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.raw:
            self.raw.close()
            self.raw = None

    @property
    def content(self):
        if self._content is None:
            try:
                self._content = self.raw.read()
            finally:
                self.close()
        return self._content

    @property
    def text(self):
        return str(self.content, self.encoding)

    def json(self):
        import json

        return json.loads(self.content)

    def iter_content(self, chunk_size=_CHUNK):
        """The body in pieces of at most so many bytes."""
        while True:
            piece = self.raw.read(chunk_size)
            if not piece:
                return
            yield piece


class _Body:
    """A body as a stream: of a given length, in chunks, or to the end of the connection."""

    def __init__(self, stream, length, chunked):
        self._stream = stream
        self._left = 0 if chunked else length  # None: to the end
        self._chunked = chunked

    def readinto(self, buf):
        if self._left == 0 and self._chunked:
            self._next_chunk()
        if self._left == 0:
            return 0
        view = memoryview(buf)
        if self._left is not None and len(view) > self._left:
            view = view[: self._left]
        count = self._stream.readinto(view)
        if self._left is not None:
            if not count:
                raise OSError("the connection ended within the body")
            self._left -= count
            if self._left == 0 and self._chunked:
                self._stream.readline()
        return count

    def read(self, size=-1):
        if size >= 0:
            buf = bytearray(size)
            return bytes(memoryview(buf)[: self.readinto(buf)])
        parts = []
        buf = bytearray(4096)
        while True:
            count = self.readinto(buf)
            if not count:
                return b"".join(parts)
            parts.append(bytes(memoryview(buf)[:count]))

    def close(self):
        self._stream.close()

    def _next_chunk(self):
        self._left = int(self._stream.readline().split(b";")[0], 16)
        if self._left == 0:
            self._chunked = False
            while self._stream.readline() not in (b"\r\n", b"\n", b""):  # trailers
                pass


def request(
    method,
    url,
    data=None,
    json=None,
    headers=None,
    stream=None,
    auth=None,
    timeout=None,
    params=None,
    verify=None,
    allow_redirects=True,
):
    """Send a request and return the `Response`.

    `data` is the body: bytes, a str, or an iterator of them, which is sent in chunks; `json` an
    object that becomes one. `timeout` is in seconds, for each wait. `verify` is a file with the
    authorities by which an https server is verified; without one it is not. Redirects are followed.
    Raises `OSError`, and `ValueError` for what is no URL or no answer.
    """
    headers = dict(headers) if headers else {}
    if params:
        url += ("&" if "?" in url else "?") + "&".join(
            ["%s=%s" % (_quote(str(name)), _quote(str(params[name]))) for name in params]
        )
    if auth:
        import binascii

        token = binascii.b2a_base64(("%s:%s" % auth).encode(), newline=False).decode()
        headers["Authorization"] = "Basic " + token
    if json is not None:
        import json as module

        data = module.dumps(json)
        headers.setdefault("Content-Type", "application/json")
    for _ in range(_REDIRECTS_MAX):
        answer = _once(method, url, data, headers, timeout, verify)
        location = answer.headers.get("location")
        if not allow_redirects or answer.status_code not in _REDIRECTS or location is None:
            return answer
        answer.close()
        url, before = _absolute(location, url), url
        if _split(url)[:3] != _split(before)[:3]:
            headers.pop("Authorization", None)  # it was for the other host
        if answer.status_code == 303 or answer.status_code in (301, 302) and method == "POST":
            method, data = "GET", None
    raise ValueError("too many redirects")


def _once(method, url, data, headers, timeout, verify):
    secure, host, port, path = _split(url)
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    stream = sock
    try:
        if timeout is not None:
            sock.settimeout(timeout)
        sock.connect(address[-1])
        if secure:
            stream = _secured(sock, host, verify)
        _send(stream, method, host, port, secure, path, data, headers)
        return _receive(stream, method)
    except:
        stream.close()
        raise


def _secured(sock, host, verify):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify:
        context.load_verify_locations(cafile=verify)
    else:
        context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=host)


def _send(stream, method, host, port, secure, path, data, headers):
    lines = ["%s %s HTTP/1.1" % (method, path)]
    names = [name.lower() for name in headers]
    if "host" not in names:
        bracketed = "[%s]" % host if ":" in host else host
        usual = port == (443 if secure else 80)
        lines.append("Host: " + (bracketed if usual else "%s:%d" % (bracketed, port)))
    for name in headers:
        if "\n" in name or "\n" in str(headers[name]):
            raise ValueError("a line's end in a header")
        lines.append("%s: %s" % (name, headers[name]))
    lines.append("Connection: close")
    if isinstance(data, str):
        data = data.encode()
    chunked = data is not None and not isinstance(data, (bytes, bytearray, memoryview))
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif data is not None and "content-length" not in names:
        lines.append("Content-Length: %d" % len(data))
    stream.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    if chunked:
        for piece in data:
            piece = piece.encode() if isinstance(piece, str) else piece
            if len(piece):
                stream.write(b"%x\r\n" % len(piece))
                stream.write(piece)
                stream.write(b"\r\n")
        stream.write(b"0\r\n\r\n")
    elif data is not None:
        stream.write(data)


def _receive(stream, method):
    status_code = 100
    while status_code // 100 == 1:  # what is said meanwhile
        line = stream.readline()
        words = line.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/"):
            raise ValueError("no HTTP answer: %r" % line)
        status_code = int(words[1])
        reason = words[2].rstrip().decode() if len(words) > 2 else ""
        headers = _read_headers(stream)
    length = headers.get("content-length")
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    if method == "HEAD" or status_code in (204, 304):
        length, chunked = "0", False
    body = _Body(stream, None if length is None else int(length), chunked)
    return Response(body, status_code, reason, headers)


def _read_headers(stream):
    headers = {}
    while True:
        line = stream.readline()
        if line in (b"\r\n", b"\n"):
            return headers
        if not line:
            raise OSError("the connection ended within the headers")
        name, _, value = line.decode().partition(":")
        name = name.strip().lower()
        value = value.strip()
        headers[name] = headers[name] + ", " + value if name in headers else value


def _split(url):
    """(https?, host, port, path) of a URL."""
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in ("http", "https"):
        raise ValueError("no http URL: %r" % url)
    secure = scheme == "https"
    rest = rest.split("#")[0]
    ends = [at for at in (rest.find("/"), rest.find("?")) if at >= 0]
    end = min(ends) if ends else len(rest)
    host, path = rest[:end], rest[end:]
    if not path.startswith("/"):
        path = "/" + path
    port = 443 if secure else 80
    if host.startswith("["):
        host, _, after = host[1:].partition("]")
        if after.startswith(":"):
            port = int(after[1:])
    elif ":" in host:
        host, _, number = host.partition(":")
        port = int(number)
    if not host:
        raise ValueError("no host in %r" % url)
    return secure, host, port, path


def _absolute(location, url):
    if "://" in location:
        return location
    scheme, _, rest = url.partition("://")
    if location.startswith("//"):
        return scheme + ":" + location
    host = rest.split("/")[0].split("?")[0]
    if location.startswith("/"):
        return "%s://%s%s" % (scheme, host, location)
    path = rest.split("?")[0].split("#")[0]
    folder = path.rsplit("/", 1)[0] if "/" in path else path
    return "%s://%s/%s" % (scheme, folder, location)


def _quote(text):
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "".join([chr(c) if c in plain else "%%%02X" % c for c in text.encode()])


def head(url, **kw):
    return request("HEAD", url, **kw)


def get(url, **kw):
    return request("GET", url, **kw)


def post(url, **kw):
    return request("POST", url, **kw)


def put(url, **kw):
    return request("PUT", url, **kw)


def patch(url, **kw):
    return request("PATCH", url, **kw)


def delete(url, **kw):
    return request("DELETE", url, **kw)
