"""An MQTT client (version 3.1.1), with the names of micropython-lib's.

client = MQTTClient("board", "10.0.2.2")
client.connect()
client.publish("room/temperature", "21.5", retain=True)
"""

# SPDX-License-Identifier: MIT

import errno
import socket
from struct import pack, unpack_from

from micropython import const

_CONNECT = const(0x10)
_CONNACK = const(0x20)
_PUBLISH = const(0x30)
_PUBACK = const(0x40)
_SUBSCRIBE = const(0x82)
_SUBACK = const(0x90)
_PINGREQ = const(0xC0)
_DISCONNECT = const(0xE0)

_CLEAN_SESSION = const(0x02)
_WILL = const(0x04)
_WILL_RETAIN = const(0x20)
_PASSWORD = const(0x40)
_USER = const(0x80)
_REFUSED = const(0x80)


class MQTTException(Exception):
    """The server refuses: its code is the argument."""


class MQTTClient:
    """A connection to an MQTT server, for one task at a time.

    `keepalive` is in seconds; whoever sets it has to `ping` in time. `ssl` is an `SSLContext`.
    Messages come by the callback, of `wait_msg`, `check_msg`, and of what waits for an answer. When
    the connection is lost, that is an `OSError`; `connect` again.
    """

    def __init__(self, client_id, server, port=0, user=None, password=None, keepalive=0, ssl=None):
        self.client_id = client_id
        self.server = server
        self.port = port or (8883 if ssl else 1883)
        self.user = user
        self.pswd = password
        self.keepalive = keepalive
        self.ssl = ssl
        self.sock = None
        self.cb = None
        self.pid = 0
        self._timeout = None
        self._will = None

    def set_callback(self, f):
        """Have *f* called with the topic and the text of each message, both bytes."""
        self.cb = f

    def set_last_will(self, topic, msg, retain=False, qos=0):
        """What the server is to publish when this client is lost. Before `connect`."""
        self._will = (topic, msg, retain, _checked(qos))

    def connect(self, clean_session=True, timeout=None):
        """Connect; returns whether the server had a session of this client.

        *timeout*, in seconds, is how long this and each later answer may take. Raises `OSError`,
        and `MQTTException` where the server refuses.
        """
        self._close()
        self._timeout = timeout
        sock = self.sock = socket.socket()
        try:
            sock.settimeout(timeout)
            sock.connect(socket.getaddrinfo(self.server, self.port)[0][-1])
            if self.ssl:
                self.sock = self.ssl.wrap_socket(sock, server_hostname=self.server)
            self._send(_CONNECT, self._introduction(clean_session))
            op, answer = self._receive()
            if op != _CONNACK or len(answer) != 2:
                raise OSError(errno.EPROTO)
            if answer[1]:
                raise MQTTException(answer[1])
        except BaseException:
            self._close()
            raise
        return bool(answer[0] & 1)

    def _introduction(self, clean_session):
        flags = _CLEAN_SESSION if clean_session else 0
        payload = _string(self.client_id)
        if self._will:
            topic, msg, retain, qos = self._will
            flags |= _WILL | qos << 3 | (_WILL_RETAIN if retain else 0)
            payload += _string(topic) + _string(msg)
        if self.user is not None:
            flags |= _USER
            payload += _string(self.user)
            if self.pswd is not None:
                flags |= _PASSWORD
                payload += _string(self.pswd)
        return b"\0\x04MQTT\x04" + pack(">BH", flags, self.keepalive) + payload

    def disconnect(self):
        """Say good-bye, so that there is no last will, and close."""
        try:
            self._send(_DISCONNECT, b"")
        finally:
            self._close()

    def ping(self):
        """Tell the server that this client lives; its answer comes by `wait_msg`."""
        self._send(_PINGREQ, b"")

    def publish(self, topic, msg, retain=False, qos=0):
        """Publish; with `qos` 1 this returns when the server has the message."""
        _checked(qos)
        op = _PUBLISH | qos << 1 | (1 if retain else 0)
        if qos == 0:
            self._send(op, _string(topic), _bytes(msg))
            return
        pid = self._next_pid()
        self._send(op, _string(topic), pack(">H", pid), _bytes(msg))
        self._answer(_PUBACK, pid)

    def subscribe(self, topic, qos=0):
        """Ask for the messages of a topic, which may have wildcards. Raises `MQTTException`."""
        if self.cb is None:
            raise ValueError("set_callback first")
        _checked(qos)
        pid = self._next_pid()
        self._send(_SUBSCRIBE, pack(">H", pid), _string(topic), bytes((qos,)))
        granted = self._answer(_SUBACK, pid)[2]
        if granted == _REFUSED:
            raise MQTTException(granted)

    def wait_msg(self):
        """Wait for something from the server. A message goes to the callback."""
        return self._take(*self._receive())

    def check_msg(self):
        """The same, if something is there already; None if not."""
        sock = self._connected()
        sock.setblocking(False)
        try:
            first = sock.read(1)
        finally:
            self._wait_again()
        if first is None:
            return None
        return self._take(*self._receive(first))

    def _wait_again(self):
        if self.ssl:
            self.sock.setblocking(True)
        else:
            self.sock.settimeout(self._timeout)

    # Packets

    def _next_pid(self):
        self.pid = self.pid % 0xFFFF + 1
        return self.pid

    def _answer(self, wanted, pid):
        """Wait for the answer to a packet of ours, taking what comes before it."""
        while True:
            op, body = self._receive()
            if op == wanted and unpack_from(">H", body)[0] == pid:
                return body
            self._take(op, body)

    def _take(self, op, body):
        if op & 0xF0 != _PUBLISH:
            return op
        at = 2 + unpack_from(">H", body)[0]
        topic, qos = body[2:at], op >> 1 & 3
        if qos:
            pid = body[at : at + 2]
            at += 2
        self.cb(topic, body[at:])
        if qos:
            self._send(_PUBACK, pid)
        return op

    def _send(self, op, *parts):
        left = sum(len(part) for part in parts)
        head = bytearray((op,))
        while True:
            head.append(left & 0x7F | (0x80 if left > 0x7F else 0))
            left >>= 7
            if not left:
                break
        self._connected().write(bytes(head) + b"".join(parts))

    def _receive(self, first=None):
        """The next packet: its first byte, and what follows the length."""
        if first is None:
            first = self._read(1)
        elif not first:
            raise OSError(errno.ECONNRESET)
        size = shift = 0
        while True:
            byte = self._read(1)[0]
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                return first[0], self._read(size)
            shift += 7

    def _read(self, size):
        data = self._connected().read(size)
        if len(data) != size:
            raise OSError(errno.ECONNRESET)
        return data

    def _connected(self):
        if self.sock is None:
            raise OSError(errno.ENOTCONN)
        return self.sock

    def _close(self):
        sock, self.sock = self.sock, None
        if sock:
            sock.close()


def _bytes(text):
    return text.encode() if isinstance(text, str) else text


def _string(text):
    text = _bytes(text)
    return pack(">H", len(text)) + text


def _checked(qos):
    if qos not in (0, 1):
        raise ValueError("qos %r" % qos)
    return qos
