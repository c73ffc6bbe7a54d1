// SPDX-License-Identifier: MIT
// machine.RTC: the PL031, which QEMU starts with the host's time in UTC.

#include "py/runtime.h"
#include "shared/timeutils/timeutils.h"

#include "machine_rtc.h"
#include "rtc.h"

#define NS_PER_S 1000000000ull

static const mp_obj_base_t machine_rtc_obj = { &machine_rtc_type };

static mp_obj_t machine_rtc_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    (void)type;
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    (void)args;
    return MP_OBJ_FROM_PTR(&machine_rtc_obj);
}

static mp_obj_t get_datetime(void) {
    uint64_t now = rtc_time_ns();
    timeutils_struct_time_t tm;
    timeutils_seconds_since_epoch_to_struct_time(now / NS_PER_S, &tm);
    mp_obj_t fields[] = {
        MP_OBJ_NEW_SMALL_INT(tm.tm_year),
        MP_OBJ_NEW_SMALL_INT(tm.tm_mon),
        MP_OBJ_NEW_SMALL_INT(tm.tm_mday),
        MP_OBJ_NEW_SMALL_INT(tm.tm_wday),
        MP_OBJ_NEW_SMALL_INT(tm.tm_hour),
        MP_OBJ_NEW_SMALL_INT(tm.tm_min),
        MP_OBJ_NEW_SMALL_INT(tm.tm_sec),
        MP_OBJ_NEW_SMALL_INT(now % NS_PER_S / 1000),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(fields), fields);
}

// datetime([(year, month, day, weekday, hour, minute, second, microsecond)]):
// the weekday is not looked at, and the clock is set to the whole second.
static mp_obj_t machine_rtc_datetime(size_t n_args, const mp_obj_t *args) {
    if (n_args == 1) {
        return get_datetime();
    }
    mp_obj_t *fields;
    mp_obj_get_array_fixed_n(args[1], 8, &fields);
    rtc_set(timeutils_seconds_since_epoch(
        mp_obj_get_int(fields[0]), mp_obj_get_int(fields[1]), mp_obj_get_int(fields[2]),
        mp_obj_get_int(fields[4]), mp_obj_get_int(fields[5]), mp_obj_get_int(fields[6])));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_rtc_datetime_obj, 1, 2, machine_rtc_datetime);

static const mp_rom_map_elem_t machine_rtc_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_datetime), MP_ROM_PTR(&machine_rtc_datetime_obj) },
};
static MP_DEFINE_CONST_DICT(machine_rtc_locals, machine_rtc_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    machine_rtc_type,
    MP_QSTR_RTC,
    MP_TYPE_FLAG_NONE,
    make_new, machine_rtc_make_new,
    locals_dict, &machine_rtc_locals
    );
