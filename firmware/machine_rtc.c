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

// What would read back as another time is a ValueError: a field out of its range, a day that the
// month has not, and years that the hardware's 32 bits or MicroPython's calendar cannot hold.
static uint32_t seconds_of(const mp_int_t *fields) {
    enum { YEAR, MONTH, DAY, WEEKDAY, HOUR, MINUTE, SECOND };
    uint32_t seconds = 0;
    timeutils_struct_time_t tm = { 0 };
    if (fields[YEAR] >= 1970 && fields[MONTH] >= 1 && fields[MONTH] <= 12) {
        seconds = timeutils_seconds_since_epoch(fields[YEAR], fields[MONTH], fields[DAY],
            fields[HOUR], fields[MINUTE], fields[SECOND]);
        timeutils_seconds_since_epoch_to_struct_time(seconds, &tm);
    }
    if (tm.tm_year != fields[YEAR] || tm.tm_mon != fields[MONTH] || tm.tm_mday != fields[DAY]
        || tm.tm_hour != fields[HOUR] || tm.tm_min != fields[MINUTE] || tm.tm_sec != fields[SECOND]) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such time, or out of the clock's range"));
    }
    return seconds;
}

// datetime([(year, month, day, weekday, hour, minute, second, microsecond)]):
// the weekday is not looked at.
static mp_obj_t machine_rtc_datetime(size_t n_args, const mp_obj_t *args) {
    if (n_args == 1) {
        return get_datetime();
    }
    mp_obj_t *items;
    mp_int_t fields[8];
    mp_obj_get_array_fixed_n(args[1], MP_ARRAY_SIZE(fields), &items);
    for (size_t i = 0; i < MP_ARRAY_SIZE(fields); i++) {
        fields[i] = mp_obj_get_int(items[i]);
    }
    mp_int_t microsecond = fields[7];
    if (microsecond < 0 || microsecond >= 1000000) {
        mp_raise_ValueError(MP_ERROR_TEXT("microsecond out of range"));
    }
    rtc_set(seconds_of(fields) * NS_PER_S + microsecond * 1000);
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
