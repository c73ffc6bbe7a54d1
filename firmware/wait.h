// SPDX-License-Identifier: MIT
// Sleeping until something happens.
#pragma once

#include <stdint.h>

// For whoever waits: look for it, call this, and do both again. Sleeps until an interrupt or the
// deadline (in ticks); returns at once when anything happened since this waiter's last return, or
// when the scheduler has work. What happened while others waited is not lost to this one: they may
// be in what it does in between, at any depth.
//
// Where interrupts are off nothing can happen: it returns at once, so that time passes by the
// counter, and raises RuntimeError where there is no deadline.
void wait_for_event(uint64_t deadline);

// What may have changed without an interrupt.
void wait_note_event(void);
