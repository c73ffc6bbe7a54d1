// SPDX-License-Identifier: MIT
// Random bytes from the entropy device, by way of virtio.urandom().

#include <string.h>

#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"

#include "ctrl_c.h"
#include "entropy.h"
#include "rtc.h"
#include "timer.h"

static mp_obj_t entropy_bytes(mp_obj_t length) {
    mp_obj_t module = mp_import_name(MP_QSTR_virtio, mp_const_none, MP_OBJ_NEW_SMALL_INT(0));
    return mp_call_function_1(mp_load_attr(module, MP_QSTR_urandom), length);
}

static bool is_no_device(mp_obj_t exception) {
    return mp_obj_exception_match(exception, MP_OBJ_FROM_PTR(&mp_type_OSError))
           && mp_obj_exception_get_value(exception) == MP_OBJ_NEW_SMALL_INT(MP_ENODEV);
}

// os.urandom(n): n random bytes; raises OSError(ENODEV) where there is no device. Releases of
// MicroPython have it by one way or the other.
MP_DEFINE_CONST_FUN_OBJ_1(mp_os_urandom_obj, entropy_bytes);

void mp_hal_get_random(size_t n, uint8_t *buf) {
    mp_buffer_info_t bytes;
    mp_get_buffer_raise(entropy_bytes(MP_OBJ_NEW_SMALL_INT(n)), &bytes, MP_BUFFER_READ);
    memcpy(buf, bytes.buf, n);
}

uint32_t entropy_seed(void) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_obj_t bytes = entropy_bytes(MP_OBJ_NEW_SMALL_INT(sizeof(uint32_t)));
        uint32_t seed;
        memcpy(&seed, mp_obj_str_get_str(bytes), sizeof(seed));
        nlr_pop();
        return seed;
    }
    if (!is_no_device(MP_OBJ_FROM_PTR(nlr.ret_val))) {
        nlr_raise(MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    return timer_ticks() ^ (uint64_t)rtc_time_s() << 32 ^ rtc_time_s();
}

bool entropy_read(uint8_t *data, size_t len) {
    nlr_buf_t nlr;
    bool done = false;
    ctrl_c_hold();
    if (nlr_push(&nlr) == 0) {
        mp_hal_get_random(len, data);
        nlr_pop();
        done = true;
    }
    ctrl_c_release();
    return done;
}
