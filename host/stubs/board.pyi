"""What lies under the library on this machine: memory for devices, interrupts, the device tree."""

from collections.abc import Callable
from typing import Any

def dma() -> memoryview:
    """The memory that devices may be given; virtio deals it out."""

def devices(compatible: str) -> list[tuple[int, int, int]]:
    """(address, size, interrupt) of each node of that name in the device tree, by address."""

def mounted() -> list[Any]:
    """The block devices of the mounted FAT and littlefs, and other filesystems themselves."""

def undisturbed(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function without Ctrl-C, scheduled functions or a collection in between."""

def uninterrupted(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; a Ctrl-C that comes meanwhile is raised behind it."""

def check_wait() -> None:
    """Of a wait without an Interrupt: raise what ends waits below a filesystem."""

def poweroff() -> None:
    """End the machine."""

class Interrupt:
    """A line of the interrupt controller."""

    LEVEL: int
    RISING: int

    def __init__(self, intid: int) -> None: ...
    def irq(
        self,
        handler: Callable[[Interrupt], None] | None = None,
        trigger: int = ...,
        hard: bool = False,
    ) -> Interrupt:
        """Have a handler called when the line fires; None takes it away."""

    def wait(self, timeout_ms: int = -1) -> bool:
        """True when the line has fired since the last wait()."""

    def enable(self) -> None:
        """Let the line fire again, after its device was acknowledged."""

    def disable(self) -> None:
        """Keep the line from firing."""
