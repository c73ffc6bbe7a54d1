// SPDX-License-Identifier: MIT
// py/qstr.c, with the search for a name in qstr_find.c.

#include "py/qstr.h"

#pragma weak qstr_find_strn
#include "py/qstr.c"
