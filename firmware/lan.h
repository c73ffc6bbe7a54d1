// SPDX-License-Identifier: MIT
// The network interface: lwIP on one side, frames in slots on the other.
#pragma once

#include <stdint.h>

#include "py/obj.h"

extern const mp_obj_type_t lan_type;

// Once, before the first interpreter.
void lan_init(void);

// At the end of an interpreter's life, after its sockets were closed: lets the device send what
// that made, and takes the interface away.
void lan_deinit(void);

// Around each piece of work in lwIP. Leaving the outermost one, what it made is sent.
void lan_enter(void);
void lan_leave(void);

// Called where a program waits. With the scheduler locked nothing else looks for frames.
void lan_poll(void);

// Answers what mDNS was to answer later, by mdns.c.
void mdns_answer_waiting(void);
