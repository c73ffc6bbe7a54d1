"""The network device as the interface of the firmware's stack, `network.LAN`."""

# SPDX-License-Identifier: MIT

import lan_netif
from micropython import const, schedule

from ..errors import DeviceFault
from ..platform import board
from ..ring.slots import post_again
from .net import Net, gather, send_ready

_BATCH = const(32)  # slots that are handed over at a time
_FEW = const(32)  # free slots: only with fewer it is looked for what was sent


class _Lan:
    """The driver of one device, and the functions that the stack calls."""

    def __init__(self, net):
        self.net = net
        net.on_link = self.link_changed
        self.again = self.receive  # a bound method that is there already
        lan_netif.attach(
            net.mac, net.mtu, net.tx.memory, net.state, self.send, self.receive, net.completes
        )
        net.received = self.receive
        net.rx.queue.hear(True)
        lan_netif.link(net.link)
        self.receive()

    def link_changed(self, net):
        lan_netif.link(net.link)

    @micropython.native
    def send(self):
        """Called by the stack, when it was left with frames to be sent."""
        send_ready(self.net, _FEW)

    @micropython.native
    def receive(self, _=None):
        """Give the stack what has come: called for an interrupt, and where a program waits.

        A device that lies takes the link down.
        """
        net = self.net
        try:
            count = gather(net, _BATCH)
            if count:
                lan_netif.input(net.pieces, count)
                post_again(net.rx, net.found, count)
                if count >= _BATCH:
                    schedule(self.again, None)
        except DeviceFault:
            lan_netif.link(False)
        except RuntimeError:
            pass  # the scheduler's queue is full: the stack's timers look for more


_lan = None
_left = None  # a device that has no interface yet, or no more


def start():
    """Bring the interface up, by the first network device. Raises `NoDevice`, `AlreadyUsed`."""
    board.uninterrupted(_start)


def stop():
    """Take the interface down, and let the device go."""
    board.uninterrupted(_stop)


# Whatever is raised in these, the device has an owner, whom the next call finds.


def _start():
    global _lan, _left
    if _lan is None:
        _let_go()
        _left = Net(0)
        try:
            _lan = _Lan(_left)
        except:
            lan_netif.detach()
            _let_go()
            raise
        _left = None


def _stop():
    global _lan, _left
    if _lan:
        _left, _lan = _lan.net, None
        lan_netif.detach()
    _let_go()


def _let_go():
    global _left
    if _left:
        _left.deinit()
        _left = None
