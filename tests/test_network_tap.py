# SPDX-License-Identifier: MIT
"""A tap of the host's kernel, where checksums are left to the device and not completed by it.

It is in a network of its own, for which a host may let a user make one. What runs there is this file.
"""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import INTERFACES
from emulator import ROOT, Board, Machine

TAP = "ip tuntap add t0 mode tap && ip addr add 10.1.1.2/24 dev t0 && ip link set t0 up"
CSUM, GUEST_CSUM = 1 << 0, 1 << 1
ON_BOARD = """
import network, socket
from virtio.drivers import lan

network.LAN().ipconfig(dhcp4=False, addr4="10.1.1.1/24")
s = socket.socket()
s.connect(("10.1.1.2", 7))
data = bytes(range(256)) * 64
print(all([s.write(data) and s.read(len(data)) == data for _ in range(64)]))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(30)
for n in (1, 1472, 3000):
    u.sendto(data[:n], ("10.1.1.2", 7))
    print(u.recv(4000) == data[:n])
print(lan._lan.net.features & 3)
"""


def in_a_network_of_its_own(command, **options):
    return subprocess.run(["unshare", "-rn", "sh", "-c", command], capture_output=True, **options)


@INTERFACES
@pytest.mark.parametrize("options", ["", "packed=on", "csum=off,guest_csum=off"])
def test_what_crosses_a_tap_arrives_whole(modern, options):
    if options == "packed=on" and not modern:
        pytest.skip("a legacy device has no packed ring")
    try:
        if in_a_network_of_its_own(TAP).returncode:
            pytest.skip("this user may make no tap here")
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    command = f"{TAP} && exec '{sys.executable}' '{__file__}' {int(modern)} {options}"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/tools:{Path(__file__).parent}"}
    done = in_a_network_of_its_own(command, env=environment, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    *whole, features = done.stdout.split()
    assert whole == ["True"] * 4
    assert int(features) == (0 if "csum=off" in options else CSUM | GUEST_CSUM)


def echo(server):
    connection, _ = server.accept()
    while data := connection.recv(65536):
        connection.sendall(data)


def answer(server):
    while True:
        server.sendto(*server.recvfrom(4000))


def main(modern, options=""):
    stream = socket.create_server(("10.1.1.2", 7))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("10.1.1.2", 7))
    for function, server in ((echo, stream), (answer, datagrams)):
        threading.Thread(target=function, args=(server,), daemon=True).start()
    tap = "tap,ifname=t0,script=no,downscript=no"
    with Board(Machine(net=tap, modern=modern == "1", net_options=options)) as board:
        board.wait_for_prompt()
        print(board.exec(ON_BOARD, 200))


if __name__ == "__main__":
    main(*sys.argv[1:])
