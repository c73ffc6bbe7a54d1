// SPDX-License-Identifier: MIT
// Lets in at a chosen place what else comes by chance: Ctrl-C, a scheduled function, a collection,
// the end of memory, the end of the stack, an error below a filesystem. The places are those where
// the interpreter may let it in: the jumps of bytecode and the waits in C, the allocations, the
// calls. They are counted from arming on, so that all of an operation can be tried one after the
// other.

#include "py/cstack.h"
#include "py/gc.h"
#include "py/runtime.h"

#include "cpu.h"
#include "ctrl_c.h"

enum { CTRL_C, SCHEDULE, COLLECT, NO_MEMORY, NO_MORE_MEMORY, RECURSION, RAISED, KINDS };

#define JUMP (1 << 0)
#define ALLOCATION (1 << 1)
#define CALL (1 << 2)
#define CALL_WITH_ROOM (1 << 3) // below a filesystem, where the stack cannot end

static const uint8_t places[KINDS] = {
    [CTRL_C] = JUMP,
    [SCHEDULE] = JUMP,
    [COLLECT] = JUMP | ALLOCATION,
    [NO_MEMORY] = ALLOCATION,
    [NO_MORE_MEMORY] = ALLOCATION,
    [RECURSION] = CALL,
    [RAISED] = CALL_WITH_ROOM,
};

void *m_malloc_any(size_t n_bytes);
void *inner_gc_alloc(size_t n_bytes, unsigned int flags);
void *inner_gc_realloc(void *ptr, size_t n_bytes, bool allow_move);
void inner_cstack_check(void);

void inject_at_jump(void);

static mp_uint_t kind;
static unsigned counted; // the places of the kind, while armed
static mp_uint_t points;
static mp_uint_t chosen; // 0 is none
static mp_uint_t limit; // of the program's stack
static bool fired;
static bool late; // Ctrl-C was not raised before the operation ended

MP_REGISTER_ROOT_POINTER(mp_obj_t inject_function);

static bool reached(unsigned place) {
    if (!(counted & place)) {
        return false;
    }
    if (fired) { // there is no more memory
        return true;
    }
    if (++points != chosen) {
        return false;
    }
    fired = true;
    if (kind != NO_MORE_MEMORY) {
        counted = 0;
    }
    return true;
}

static void disarm(void) {
    counted = 0;
    MP_STATE_VM(inject_function) = MP_OBJ_NULL;
}

static void arm(mp_obj_t kind_in, mp_obj_t n_in, mp_obj_t function) {
    disarm();
    mp_uint_t k = mp_obj_get_int(kind_in);
    if (k >= KINDS) {
        mp_raise_ValueError(MP_ERROR_TEXT("kind"));
    }
    kind = k;
    chosen = mp_obj_get_int(n_in);
    points = 0;
    fired = false;
    late = false;
    limit = MP_STATE_THREAD(stack_limit);
    MP_STATE_VM(inject_function) = function;
    counted = places[k];
}

void inject_at_jump(void) {
    // The collector comes here only with a scheduled function.
    if (kind == COLLECT && (gc_is_locked() || MP_STATE_VM(sched_state) < 0)) {
        return;
    }
    if (!reached(JUMP)) {
        return;
    }
    if (kind == CTRL_C) {
        uint32_t state = irq_disable();
        ctrl_c_pressed();
        irq_restore(state);
    } else if (kind == SCHEDULE) {
        mp_sched_schedule(MP_STATE_VM(inject_function), mp_const_none);
    } else {
        gc_collect();
    }
}

// Whether there is no memory.
static bool inject_at_allocation(void) {
    if (gc_is_locked()) {
        return false;
    }
    if (kind == COLLECT) {
        if (MP_STATE_MEM(gc_auto_collect_enabled) && reached(ALLOCATION)) {
            gc_collect();
        }
        return false;
    }
    return reached(ALLOCATION);
}

void *gc_alloc(size_t n_bytes, unsigned int flags) {
    if (n_bytes != 0 && inject_at_allocation()) {
        return NULL;
    }
    return inner_gc_alloc(n_bytes, flags);
}

// The port's own does without gc_alloc() where it can.
void *m_malloc(size_t n_bytes) {
    return m_malloc_any(n_bytes);
}

void *gc_realloc(void *ptr, size_t n_bytes, bool allow_move) {
    if (ptr != NULL && n_bytes != 0 && !gc_is_locked()) {
        void *same = inner_gc_realloc(ptr, n_bytes, false);
        if (same != NULL || !allow_move) {
            return same;
        }
    }
    if (n_bytes != 0 && inject_at_allocation()) {
        return NULL;
    }
    return inner_gc_realloc(ptr, n_bytes, allow_move);
}

void mp_cstack_check(void) {
    if (reached(MP_STATE_THREAD(stack_limit) > limit ? CALL_WITH_ROOM : CALL)) {
        mp_raise_recursion_depth();
    }
    inner_cstack_check();
}

// arm(kind, n, function=None): at the n-th point from here on; at none if n is 0, to count them.
static mp_obj_t inject_arm(size_t n_args, const mp_obj_t *args) {
    arm(args[0], args[1], n_args > 2 ? args[2] : mp_const_none);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(inject_arm_obj, 2, 3, inject_arm);

static mp_obj_t inject_disarm(void) {
    disarm();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(inject_disarm_obj, inject_disarm);

static void end_of_operation(void) {
    disarm();
    late = MP_STATE_THREAD(mp_pending_exception) != MP_OBJ_NULL;
    MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
}

// call(operation, kind, n, function=None): armed for just operation(); returns or raises what it does.
static mp_obj_t inject_call(size_t n_args, const mp_obj_t *args) {
    nlr_buf_t nlr;
    arm(args[1], args[2], n_args > 3 ? args[3] : mp_const_none);
    if (nlr_push(&nlr) == 0) {
        mp_obj_t result = mp_call_function_0(args[0]);
        nlr_pop();
        end_of_operation();
        return result;
    }
    end_of_operation();
    nlr_jump(nlr.ret_val);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(inject_call_obj, 3, 4, inject_call);

// points(): how many were passed, from arming on until it happened.
static mp_obj_t inject_points(void) {
    return mp_obj_new_int_from_uint(points);
}
static MP_DEFINE_CONST_FUN_OBJ_0(inject_points_obj, inject_points);

// fired(): whether it happened.
static mp_obj_t inject_fired(void) {
    return mp_obj_new_bool(fired);
}
static MP_DEFINE_CONST_FUN_OBJ_0(inject_fired_obj, inject_fired);

// late(): whether call() took back a Ctrl-C that was still on its way when the operation ended.
static mp_obj_t inject_late(void) {
    return mp_obj_new_bool(late);
}
static MP_DEFINE_CONST_FUN_OBJ_0(inject_late_obj, inject_late);

static const mp_rom_map_elem_t inject_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_inject) },
    { MP_ROM_QSTR(MP_QSTR_CTRL_C), MP_ROM_INT(CTRL_C) },
    { MP_ROM_QSTR(MP_QSTR_SCHEDULE), MP_ROM_INT(SCHEDULE) },
    { MP_ROM_QSTR(MP_QSTR_COLLECT), MP_ROM_INT(COLLECT) },
    { MP_ROM_QSTR(MP_QSTR_NO_MEMORY), MP_ROM_INT(NO_MEMORY) },
    { MP_ROM_QSTR(MP_QSTR_NO_MORE_MEMORY), MP_ROM_INT(NO_MORE_MEMORY) },
    { MP_ROM_QSTR(MP_QSTR_RECURSION), MP_ROM_INT(RECURSION) },
    { MP_ROM_QSTR(MP_QSTR_RAISED), MP_ROM_INT(RAISED) },
    { MP_ROM_QSTR(MP_QSTR_arm), MP_ROM_PTR(&inject_arm_obj) },
    { MP_ROM_QSTR(MP_QSTR_disarm), MP_ROM_PTR(&inject_disarm_obj) },
    { MP_ROM_QSTR(MP_QSTR_call), MP_ROM_PTR(&inject_call_obj) },
    { MP_ROM_QSTR(MP_QSTR_points), MP_ROM_PTR(&inject_points_obj) },
    { MP_ROM_QSTR(MP_QSTR_fired), MP_ROM_PTR(&inject_fired_obj) },
    { MP_ROM_QSTR(MP_QSTR_late), MP_ROM_PTR(&inject_late_obj) },
};
static MP_DEFINE_CONST_DICT(inject_globals, inject_globals_table);

const mp_obj_module_t inject_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&inject_globals,
};

MP_REGISTER_MODULE(MP_QSTR_inject, inject_module);
