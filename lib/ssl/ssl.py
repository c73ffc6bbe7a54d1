"""TLS, as CPython's `ssl` has it, on the firmware's `tls`.

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(cafile="/ca.der")
stream = context.wrap_socket(sock, server_hostname="example.org")
"""

# SPDX-License-Identifier: MIT

import tls
from tls import CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED, PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER


class SSLContext:
    """What connections have in common.

    A client verifies by default (`verify_mode` is CERT_REQUIRED), so it needs
    `load_verify_locations`, and the server's name when it wraps a socket. A server does not.
    """

    def __init__(self, protocol):
        self._context = tls.SSLContext(protocol)
        self._client = protocol == PROTOCOL_TLS_CLIENT

    @property
    def verify_mode(self):
        return self._context.verify_mode

    @verify_mode.setter
    def verify_mode(self, mode):
        self._context.verify_mode = mode

    @property
    def verify_callback(self):
        return self._context.verify_callback

    @verify_callback.setter
    def verify_callback(self, callback):
        self._context.verify_callback = callback

    def load_cert_chain(self, certfile, keyfile):
        """Take a certificate and its key: names of files, or their bytes, in DER or PEM."""
        self._context.load_cert_chain(_content(certfile), _content(keyfile))

    def load_verify_locations(self, cafile=None, cadata=None):
        """Trust what is signed by these: a file's name, or bytes, in DER or PEM."""
        self._context.load_verify_locations(cadata if cafile is None else _content(cafile))

    def get_ciphers(self):
        return self._context.get_ciphers()

    def set_ciphers(self, ciphers):
        self._context.set_ciphers(ciphers)

    def wrap_socket(
        self, sock, server_side=False, do_handshake_on_connect=True, server_hostname=None
    ):
        """A stream of *sock* that is encrypted. Raises `OSError` when the handshake fails."""
        return self._context.wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            server_hostname=server_hostname,
        )


def create_default_context(cafile=None, cadata=None):
    """A context for clients that verifies, by the given authorities."""
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    if cafile is not None or cadata is not None:
        context.load_verify_locations(cafile, cadata)
    return context


def wrap_socket(
    sock,
    server_side=False,
    key=None,
    cert=None,
    cert_reqs=CERT_NONE,
    cadata=None,
    server_hostname=None,
    do_handshake=True,
):
    """A stream of *sock* that is encrypted, and by default not verified."""
    context = SSLContext(PROTOCOL_TLS_SERVER if server_side else PROTOCOL_TLS_CLIENT)
    context.verify_mode = cert_reqs
    if cert is not None or key is not None:
        context.load_cert_chain(cert, key)
    if cadata is not None:
        context.load_verify_locations(cadata=cadata)
    return context.wrap_socket(
        sock,
        server_side=server_side,
        do_handshake_on_connect=do_handshake,
        server_hostname=server_hostname,
    )


def _content(file):
    if isinstance(file, str):
        with open(file, "rb") as f:
            return f.read()
    return file
