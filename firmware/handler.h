// SPDX-License-Identifier: MIT
// Calls of Python that come between two steps of a program, and must leave it as it was.
#pragma once

#include <stdbool.h>

#include "py/obj.h"

// Calls a function of one argument. Returns false if it raised: that has been printed, unless it
// was the Ctrl-C that is the program's, which is raised there next. Nothing leaves this call.
bool handler_call(mp_obj_t function, mp_obj_t argument, mp_obj_t *raised);

// Room on both stacks beyond the program's, for Python that must not run out of it; to be given back
// with what taking it returned.
bool handler_take_room(void);
void handler_give_room_back(bool room);
