// SPDX-License-Identifier: MIT
// Ctrl-C on its way from the console to the program.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Of what vectors.S keeps of interrupted code.
typedef struct {
    uint32_t others[6];
    uint32_t pc;
    uint32_t cpsr;
    uint32_t sp;
    uint32_t lr;
} interrupted_t;

// The console has received it.
void ctrl_c_pressed(void);

// From here to the matching release (they nest) it does not interrupt: it is kept, and raised in
// the program once the last of them is released. One that was pending already is kept as well.
void ctrl_c_hold(void);
void ctrl_c_release(void);

// Whether one is being kept, and if so since when, in the timer's ticks.
bool ctrl_c_is_kept(void);
uint64_t ctrl_c_kept_since(void);

// Whether a second one has been pressed meanwhile.
bool ctrl_c_is_insisted_on(void);

// Around a handler, which a Ctrl-C does not interrupt either: it is the program's. Leaving takes
// what entering has returned, and drops holds that the handler jumped out of.
unsigned ctrl_c_enter_handler(void);
void ctrl_c_leave_handler(unsigned outer);

// For whatever waits: a handler that does nothing but wait is not to keep one from the program.
// Raises it, and keeps it for the program nevertheless.
void ctrl_c_end_wait(void);

// Three of them within two seconds, of which none was taken, are raised wherever that harms nobody.
// The first is for C code where it may raise, the second for each interrupt before it returns.
void ctrl_c_raise_if_forced(void);
void ctrl_c_look_at(interrupted_t *code);
