// SPDX-License-Identifier: MIT
// FatFs with names in UTF-8, MicroPython's own encoding. A name has up to 255 units of UTF-16,
// each of which takes up to three bytes; a short one has up to 11 characters and a dot.

#include_next "lib/oofatfs/ffconf.h"

#undef FF_LFN_UNICODE
#define FF_LFN_UNICODE 2

#undef FF_LFN_BUF
#define FF_LFN_BUF 765

#undef FF_SFN_BUF
#define FF_SFN_BUF 34
