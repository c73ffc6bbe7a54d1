// SPDX-License-Identifier: MIT
// The module port_terminal: a terminal whose bytes a driver in Python carries, for os.dupterm().
//
// Input is fed from the driver's interrupt into a ring, where a Ctrl-C is seen at once. Output is
// gathered: each call of the driver is a request to a device. It is sent at a newline, at control
// bytes (a host that speaks the raw REPL's protocol waits for those), when the buffer is full, when
// input is waited for, and by a short timer.

#include <string.h>

#include "py/binary.h"
#include "py/gc.h"
#include "py/mperrno.h"
#include "py/objarray.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "extmod/misc.h"
#include "shared/runtime/interrupt_char.h"
#include "shared/runtime/softtimer.h"

#include "cpu.h"
#include "ctrl_c.h"
#include "guard.h"
#include "port_terminal.h"

#define RING_SIZE (64 * 1024)
#define OUTPUT_SIZE 4096
#define FLUSH_MS 5

enum { DRIVER_WRITE, DRIVER_MORE };

MP_REGISTER_ROOT_POINTER(mp_obj_t port_terminal_driver[2]);

// Static, and kept over a soft reset: the host types ahead.
static uint8_t ring[RING_SIZE];
static volatile uint32_t received;
static volatile uint32_t taken;
bool port_terminal_asked;
static bool held_up; // the driver has more than there was room for

static char output[OUTPUT_SIZE];
static volatile uint32_t gathered;
static bool sending;
static mp_obj_array_t window = { .base = { &mp_type_bytearray }, .typecode = BYTEARRAY_TYPECODE };
static soft_timer_entry_t timer;
static bool timer_armed;
static mp_sched_node_t flush_node;

static const mp_obj_base_t terminal = { &port_terminal_type };

static bool is_attached(void) {
    return MP_STATE_VM(port_terminal_driver)[DRIVER_WRITE] != MP_OBJ_NULL;
}

// The driver does not raise into what prints.
static void call_driver(int which, size_t n_args, mp_obj_t arg) {
    guard_t guard;
    guard_enter(&guard);
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_call_function_n_kw(MP_STATE_VM(port_terminal_driver)[which], n_args, 0, &arg);
        nlr_pop();
    }
    guard_leave(&guard);
}

// Not where a hard handler or a finaliser prints: it may have come into the driver itself. What
// is gathered there goes with the timer.
void port_terminal_flush(void) {
    if (gathered == 0 || sending || gc_is_locked() || !is_attached()) {
        return;
    }
    sending = true;
    window.items = output;
    window.len = gathered;
    call_driver(DRIVER_WRITE, 1, MP_OBJ_FROM_PTR(&window));
    uint32_t state = irq_disable();
    gathered -= window.len;
    memmove(output, output + window.len, gathered);
    irq_restore(state);
    sending = false;
}

static void flush_later(mp_sched_node_t *node) {
    (void)node;
    port_terminal_flush();
}

static void timer_due(soft_timer_entry_t *self) {
    (void)self;
    timer_armed = false;
    mp_sched_schedule_node(&flush_node, flush_later);
}

static void gather(const char *text, size_t length) {
    uint32_t state = irq_disable();
    memcpy(output + gathered, text, length);
    gathered += length;
    irq_restore(state);
    if (!timer_armed) {
        timer_armed = true;
        soft_timer_reinsert(&timer, FLUSH_MS);
    }
}

static bool ends_something(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c < ' ' && c != '\r' && c != '\t' && c != '\b' && c != '\x1b') {
            return true;
        }
    }
    return false;
}

static mp_uint_t terminal_write(mp_obj_t self, const void *data, mp_uint_t size, int *errcode) {
    (void)self;
    (void)errcode;
    const char *text = data;
    size_t left = size;
    while (left != 0 && is_attached()) {
        size_t part = MIN(left, OUTPUT_SIZE - gathered);
        gather(text, part);
        text += part;
        left -= part;
        if (left != 0) {
            port_terminal_flush();
            if (gathered == OUTPUT_SIZE) {
                break; // it cannot be sent from here
            }
        }
    }
    if (ends_something(data, size)) {
        port_terminal_flush();
    }
    return size;
}

static mp_uint_t terminal_read(mp_obj_t self, void *data, mp_uint_t size, int *errcode) {
    (void)self;
    mp_uint_t count = MIN(size, received - taken);
    for (mp_uint_t i = 0; i < count; i++) {
        ((uint8_t *)data)[i] = ring[taken++ % RING_SIZE];
    }
    if (held_up && received - taken < RING_SIZE / 2 && is_attached()) {
        held_up = false;
        call_driver(DRIVER_MORE, 0, MP_OBJ_NULL);
    }
    if (count == 0) {
        port_terminal_flush();
        *errcode = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    port_terminal_asked = true;
    return count;
}

static mp_uint_t terminal_ioctl(mp_obj_t self, mp_uint_t request, uintptr_t arg, int *errcode) {
    (void)self;
    if (request == MP_STREAM_POLL) {
        return arg & (MP_STREAM_POLL_WR | (received != taken ? MP_STREAM_POLL_RD : 0));
    }
    if (request == MP_STREAM_CLOSE) {
        return 0;
    }
    *errcode = MP_EINVAL;
    return MP_STREAM_ERROR;
}

static const mp_stream_p_t terminal_protocol = {
    .read = terminal_read,
    .write = terminal_write,
    .ioctl = terminal_ioctl,
};

MP_DEFINE_CONST_OBJ_TYPE(
    port_terminal_type,
    MP_QSTR_PortTerminal,
    MP_TYPE_FLAG_NONE,
    protocol, &terminal_protocol
    );

// Whose calls MicroPython needs no handler around.
bool mp_os_dupterm_is_builtin_stream(mp_const_obj_t stream) {
    return mp_obj_is_type((mp_obj_t)stream, &port_terminal_type);
}

void port_terminal_detach(void) {
    memset(MP_STATE_VM(port_terminal_driver), 0, sizeof(MP_STATE_VM(port_terminal_driver)));
    gathered = 0;
    port_terminal_asked = false;
    timer_armed = false;
    sending = false;
    held_up = false;
}

// attach(write, more): the terminal, for os.dupterm(). It calls write(bytes), and more() where
// there is room again for what feed() did not take.
static mp_obj_t terminal_attach(mp_obj_t write, mp_obj_t more) {
    port_terminal_detach();
    soft_timer_remove(&timer);
    soft_timer_static_init(&timer, SOFT_TIMER_MODE_ONE_SHOT, 0, timer_due);
    MP_STATE_VM(port_terminal_driver)[DRIVER_WRITE] = write;
    MP_STATE_VM(port_terminal_driver)[DRIVER_MORE] = more;
    return MP_OBJ_FROM_PTR(&terminal);
}
static MP_DEFINE_CONST_FUN_OBJ_2(terminal_attach_obj, terminal_attach);

// feed(buf, start, end): takes input that has come; returns how many bytes.
static mp_obj_t terminal_feed(mp_obj_t buf, mp_obj_t start_in, mp_obj_t end_in) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buf, &info, MP_BUFFER_READ);
    size_t end = MIN((size_t)mp_obj_get_int(end_in), info.len);
    size_t start = MIN((size_t)mp_obj_get_int(start_in), end);
    const uint8_t *bytes = info.buf;
    size_t at = start;
    for (; at < end; at++) {
        if (bytes[at] == mp_interrupt_char) {
            taken = received; // as terminals do: it was typed for what ends now
            ctrl_c_pressed();
        } else if (received - taken == RING_SIZE) {
            held_up = true;
            break;
        } else {
            ring[received++ % RING_SIZE] = bytes[at];
        }
    }
    return MP_OBJ_NEW_SMALL_INT(at - start);
}
static MP_DEFINE_CONST_FUN_OBJ_3(terminal_feed_obj, terminal_feed);

static const mp_rom_map_elem_t terminal_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_port_terminal) },
    { MP_ROM_QSTR(MP_QSTR_attach), MP_ROM_PTR(&terminal_attach_obj) },
    { MP_ROM_QSTR(MP_QSTR_feed), MP_ROM_PTR(&terminal_feed_obj) },
};
static MP_DEFINE_CONST_DICT(terminal_globals, terminal_globals_table);

const mp_obj_module_t port_terminal_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&terminal_globals,
};

MP_REGISTER_MODULE(MP_QSTR_port_terminal, port_terminal_module);
