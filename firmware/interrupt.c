// SPDX-License-Identifier: MIT
// board.Interrupt: interrupt lines in Python's hands, by handler or by waiting.
//
// A device holds its level until it is acknowledged, and only its driver knows
// how. So a line is masked when it fires, and unmasked when its handler has
// returned; or, where there is no handler, by the next wait(). An edge that
// comes meanwhile is not lost: the GIC keeps it pending.
//
// A handler that raises may not have acknowledged its device, which then would
// fire for ever: each time in a row the line stays masked for twice as long.

#include "py/gc.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/mpprint.h"
#include "py/runtime.h"
#include "shared/runtime/softtimer.h"

#include "cpu.h"
#include "gic.h"
#include "guard.h"
#include "handler.h"
#include "interrupt.h"
#include "timer.h"
#include "wait.h"

enum { TRIGGER_LEVEL, TRIGGER_RISING };

typedef struct {
    mp_obj_base_t base;
    bool hard;
    bool enabled; // wanted by Python; the line may be masked all the same
    volatile uint32_t fired; // how often
    uint32_t seen; // of that, at the end of the last wait()
    mp_sched_node_t node;
    uint8_t failures; // of the handler, in a row
    bool call_again; // for what the last one missed
    soft_timer_entry_t retry;
} interrupt_t;

#define LONGEST_PAUSE 10 // 2 ** 10 ms

// Static, because a node that is scheduled when a soft reset comes is run after it.
static interrupt_t lines[GIC_INTID_COUNT];

// One handler a line, or NULL.
MP_REGISTER_ROOT_POINTER(mp_obj_t interrupt_handlers[GIC_INTID_COUNT]);

static uint32_t intid_of(const interrupt_t *self) {
    return self - lines;
}

static void line_disable(interrupt_t *self) {
    uint32_t state = irq_disable();
    self->enabled = false;
    gic_disable(intid_of(self));
    irq_restore(state);
}

static void drop_handler(interrupt_t *self) {
    line_disable(self);
    soft_timer_remove(&self->retry);
    self->failures = 0;
    MP_STATE_VM(interrupt_handlers)[intid_of(self)] = MP_OBJ_NULL;
}

static void retry(soft_timer_entry_t *entry) {
    interrupt_t *self = (interrupt_t *)((char *)entry - offsetof(interrupt_t, retry));
    if (self->call_again) {
        gic_set_pending(intid_of(self));
    }
    if (self->enabled) {
        gic_unmask(intid_of(self));
    }
}

// What ran out of stack or memory may well succeed a moment later, and may have acknowledged its
// device already, so that nothing else would call it again.
static void pause_after(interrupt_t *self, mp_obj_t error) {
    bool ran_out = mp_obj_exception_match(error, MP_OBJ_FROM_PTR(&mp_type_RuntimeError))
        || mp_obj_exception_match(error, MP_OBJ_FROM_PTR(&mp_type_MemoryError));
    self->call_again = ran_out && self->failures < LONGEST_PAUSE;
    soft_timer_reinsert(&self->retry, 1 << self->failures);
    self->failures = MIN(self->failures + 1, LONGEST_PAUSE);
}

// Returns whether the line may fire again at once.
static bool run_handler(interrupt_t *self) {
    mp_obj_t error;
    if (handler_call(MP_STATE_VM(interrupt_handlers)[intid_of(self)], MP_OBJ_FROM_PTR(self), &error)) {
        self->failures = 0;
        return true;
    }
    if (error == MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception)) || !self->enabled) {
        return true;
    }
    pause_after(self, error);
    return false;
}

static mp_obj_t interrupt_unmask(mp_obj_t self_in) {
    interrupt_t *self = MP_OBJ_TO_PTR(self_in);
    uint32_t state = irq_disable();
    if (self->enabled) {
        gic_unmask(intid_of(self));
    }
    irq_restore(state);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(interrupt_unmask_obj, interrupt_unmask);

static void run_soft_handler(mp_sched_node_t *node) {
    interrupt_t *self = (interrupt_t *)((char *)node - offsetof(interrupt_t, node));
    if (MP_STATE_VM(interrupt_handlers)[intid_of(self)] == MP_OBJ_NULL) {
        return; // removed meanwhile
    }
    if (!run_handler(self)) {
        return;
    }
    // Not at once: the scheduler runs nodes for as long as there are any, and a
    // device that is never quiet would keep the program and Ctrl-C out for ever.
    // Of what is queued like this it runs one at a time; a full queue has its turn first.
    if (self->enabled && !mp_sched_schedule(MP_OBJ_FROM_PTR(&interrupt_unmask_obj), MP_OBJ_FROM_PTR(self))) {
        self->call_again = false;
        soft_timer_reinsert(&self->retry, 1);
    }
}

static void line_fired(uint32_t intid) {
    interrupt_t *self = &lines[intid];
    self->fired++;
    bool handled = MP_STATE_VM(interrupt_handlers)[intid] != MP_OBJ_NULL;
    if (handled && self->hard) {
        // Not signalled again before this returns, so there is nothing to mask.
        mp_sched_lock();
        gc_lock();
        if (!run_handler(self)) {
            gic_mask(intid);
        }
        gc_unlock();
        mp_sched_unlock();
        return;
    }
    gic_mask(intid);
    if (handled) {
        // A node is always taken, however full the scheduler's queue is.
        mp_sched_schedule_node(&self->node, run_soft_handler);
    }
}

static void line_enable(interrupt_t *self) {
    uint32_t state = irq_disable();
    self->enabled = true;
    gic_enable(intid_of(self), line_fired);
    irq_restore(state);
}

void interrupt_reset_all(void) {
    for (interrupt_t *self = lines; self != lines + GIC_INTID_COUNT; self++) {
        if (self->base.type != NULL) {
            drop_handler(self);
            self->seen = self->fired;
        }
    }
}

// Interrupt(intid): the same object for the same number.
static mp_obj_t interrupt_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 1, false);
    mp_int_t intid = mp_obj_get_int(args[0]);
    if (intid < GIC_PPI_FIRST || intid >= GIC_INTID_COUNT) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such interrupt"));
    }
    gic_handler_t handler = gic_handler(intid);
    if (handler != NULL && handler != line_fired) {
        mp_raise_ValueError(MP_ERROR_TEXT("the firmware's own interrupt"));
    }
    interrupt_t *self = &lines[intid];
    if (self->base.type == NULL) {
        self->base.type = type;
        soft_timer_static_init(&self->retry, SOFT_TIMER_MODE_ONE_SHOT, 0, retry);
    }
    return MP_OBJ_FROM_PTR(self);
}

static void interrupt_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    mp_printf(print, "Interrupt(%u)", (unsigned)intid_of(MP_OBJ_TO_PTR(self_in)));
}

// irq(handler=None, trigger=LEVEL, hard=False)
static mp_obj_t interrupt_irq(size_t n_args, const mp_obj_t *pos_args, mp_map_t *kw_args) {
    enum { ARG_handler, ARG_trigger, ARG_hard };
    static const mp_arg_t allowed_args[] = {
        { MP_QSTR_handler, MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
        { MP_QSTR_trigger, MP_ARG_INT, { .u_int = TRIGGER_LEVEL } },
        { MP_QSTR_hard, MP_ARG_BOOL, { .u_bool = false } },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed_args)];
    mp_arg_parse_all(n_args - 1, pos_args + 1, kw_args, MP_ARRAY_SIZE(allowed_args), allowed_args, args);
    interrupt_t *self = MP_OBJ_TO_PTR(pos_args[0]);
    mp_obj_t handler = args[ARG_handler].u_obj;
    mp_int_t trigger = args[ARG_trigger].u_int;
    if (handler != mp_const_none && !mp_obj_is_callable(handler)) {
        mp_raise_ValueError(MP_ERROR_TEXT("handler must be None or callable"));
    }
    if (trigger != TRIGGER_LEVEL && trigger != TRIGGER_RISING) {
        mp_raise_ValueError(MP_ERROR_TEXT("trigger must be LEVEL or RISING"));
    }
    drop_handler(self);
    self->hard = args[ARG_hard].u_bool;
    gic_set_edge(intid_of(self), trigger == TRIGGER_RISING);
    if (handler != mp_const_none) {
        MP_STATE_VM(interrupt_handlers)[intid_of(self)] = handler;
        line_enable(self);
    }
    return pos_args[0];
}
static MP_DEFINE_CONST_FUN_OBJ_KW(interrupt_irq_obj, 1, interrupt_irq);

static void prepare_to_wait(interrupt_t *self, uint32_t seen) {
    // A line that has fired is left masked: the caller is yet to acknowledge the
    // device. One with a handler is unmasked by that, except inside a scheduled
    // function, where no handler can run.
    uint32_t state = irq_disable();
    bool handled = MP_STATE_VM(interrupt_handlers)[intid_of(self)] != MP_OBJ_NULL;
    bool locked = MP_STATE_VM(sched_state) < 0; // however often
    if (self->fired == seen && !(handled && self->enabled && !locked)) {
        line_enable(self);
    }
    irq_restore(state);
}

// wait(timeout_ms=-1): True when the line has fired since the last wait().
static mp_obj_t interrupt_wait(size_t n_args, const mp_obj_t *pos_args, mp_map_t *kw_args) {
    static const mp_arg_t allowed_args[] = {
        { MP_QSTR_timeout_ms, MP_ARG_INT, { .u_int = -1 } },
    };
    mp_arg_val_t args[MP_ARRAY_SIZE(allowed_args)];
    mp_arg_parse_all(n_args - 1, pos_args + 1, kw_args, MP_ARRAY_SIZE(allowed_args), allowed_args, args);
    interrupt_t *self = MP_OBJ_TO_PTR(pos_args[0]);
    uint64_t deadline = timer_deadline_ms(args[0].u_int);
    // A scheduled function may wait for the same line, and must not have the interrupt to itself.
    uint32_t seen = self->seen;
    prepare_to_wait(self, seen);
    for (;;) {
        mp_event_handle_nowait();
        if (self->fired != seen) {
            self->seen = self->fired;
            return mp_const_true;
        }
        if (timer_ticks() >= deadline) {
            return mp_const_false;
        }
        guard_check_wait();
        wait_for_event(MIN(deadline, guard_wait_ends()));
    }
}
static MP_DEFINE_CONST_FUN_OBJ_KW(interrupt_wait_obj, 1, interrupt_wait);

static mp_obj_t interrupt_enable(mp_obj_t self_in) {
    line_enable(MP_OBJ_TO_PTR(self_in));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(interrupt_enable_obj, interrupt_enable);

static mp_obj_t interrupt_disable(mp_obj_t self_in) {
    line_disable(MP_OBJ_TO_PTR(self_in));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(interrupt_disable_obj, interrupt_disable);

static const mp_rom_map_elem_t interrupt_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_irq), MP_ROM_PTR(&interrupt_irq_obj) },
    { MP_ROM_QSTR(MP_QSTR_wait), MP_ROM_PTR(&interrupt_wait_obj) },
    { MP_ROM_QSTR(MP_QSTR_enable), MP_ROM_PTR(&interrupt_enable_obj) },
    { MP_ROM_QSTR(MP_QSTR_disable), MP_ROM_PTR(&interrupt_disable_obj) },
    { MP_ROM_QSTR(MP_QSTR_LEVEL), MP_ROM_INT(TRIGGER_LEVEL) },
    { MP_ROM_QSTR(MP_QSTR_RISING), MP_ROM_INT(TRIGGER_RISING) },
};
static MP_DEFINE_CONST_DICT(interrupt_locals, interrupt_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    interrupt_type,
    MP_QSTR_Interrupt,
    MP_TYPE_FLAG_NONE,
    make_new, interrupt_make_new,
    print, interrupt_print,
    locals_dict, &interrupt_locals
    );
