// SPDX-License-Identifier: MIT
// Python that is called in the middle of an operation which nothing else may come into.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "py/obj.h"

typedef struct {
    bool collects;
    bool room;
} guard_t;

// From here to the matching leave (they nest) a Ctrl-C is kept, scheduled functions wait, an
// allocation starts no collection, whose finalisers do I/O, and there is room on the stacks beyond
// the program's. Whatever is raised in between has to be caught before the leave.
void guard_enter(guard_t *guard);
void guard_leave(const guard_t *guard);

// Calls a Python function like that, and raises what it did afterwards.
mp_obj_t guard_call(mp_obj_t function, mp_obj_t argument);

// For what waits: raises KeyboardInterrupt where a Ctrl-C has been kept by a guard for so long that
// the device seems not to answer, or another one has come. The program gets its own after the last
// leave.
void guard_check_wait(void);

// When that will be; TIMER_NEVER without one.
uint64_t guard_wait_ends(void);
