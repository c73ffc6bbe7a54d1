"""What the library asks of a board and of its processor; the rest of it is MicroPython's.

`board` is the module of that name, where there is one, or `plain`, which any port can have:

    dma()                   the memory that drivers and devices share, a writable `memoryview`.
                            It lies at the address that devices use, and is never freed
    devices(compatible)     the slots, a list of (address, size, interrupt) ordered by address;
                            the interrupt is None where waiting is looking
    Interrupt(number)       a line: `irq(handler)` calls handler(line), scheduled, for each interrupt,
                            None ends that; `wait(timeout_ms)` sleeps until one, or returns False
    check_wait()            raises what should end a wait without an `Interrupt`
    uninterrupted(f, *a)    calls f(*a); a Ctrl-C that comes meanwhile is raised behind it
    undisturbed(f, a)       calls f(a), with no scheduled function and no collection in between either
    mounted()               the block devices that have a filesystem, and other filesystems

`processor` has the routines that a ring's index is published and looked at by, with their memory
barriers, and what else is slow, or not to be said, without assembler: Thumb-2 for ARMv7-A. Where
that cannot be had, `viper` stands in for it, with the same names.
"""

# SPDX-License-Identifier: MIT

try:
    import board

    board.dma  # what is asked of it
except (ImportError, AttributeError):  # there is none, or one that is about something else
    from . import plain as board

try:
    from . import processor
except (ImportError, SyntaxError, ValueError):  # left out, no such assembler, another's .mpy
    from sys import modules

    from . import viper as processor

    modules[__name__ + ".processor"] = processor  # for `from ..platform.processor import`
