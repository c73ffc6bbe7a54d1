// SPDX-License-Identifier: MIT
// Calls of Python that come between two steps of a program, and must leave it as it was: handlers,
// what the scheduler runs, finalisers. The last two come by mp_call_function_1_protected(), which
// this replaces.

#include "py/gc.h"
#include "py/mphal.h"
#include "py/mpprint.h"
#include "py/runtime.h"

#include "cpu.h"
#include "ctrl_c.h"
#include "handler.h"
#include "uart.h"

// What a jump may leave as it is.
typedef struct {
    mp_obj_dict_t *globals;
    mp_obj_dict_t *locals;
    int16_t sched_state;
    uint16_t gc_lock_depth;
} state_t;

static unsigned depth;

static state_t state_now(void) {
    return (state_t) {
        mp_globals_get(), mp_locals_get(), MP_STATE_VM(sched_state), MP_STATE_THREAD(gc_lock_depth),
    };
}

static void state_restore(const state_t *state) {
    mp_globals_set(state->globals);
    mp_locals_set(state->locals);
    MP_STATE_VM(sched_state) = state->sched_state;
    MP_STATE_THREAD(gc_lock_depth) = state->gc_lock_depth;
}

static void uart_print_strn(void *env, const char *text, size_t length) {
    (void)env;
    uart_write(text, length);
}

static const mp_print_t uart_print = { NULL, uart_print_strn };

// Printing runs Python, of the exception and of os.dupterm(), and may be out of stack or memory
// itself. Under a locked heap os.dupterm() would only fail, and be removed for that.
static void print_error(mp_obj_t error) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_obj_print_exception(gc_is_locked() ? &uart_print : MICROPY_ERROR_PRINTER, error);
        nlr_pop();
    } else {
        mp_printf(&uart_print, "%s: cannot be printed\n", mp_obj_get_type_str(error));
    }
}

static bool is_ctrl_c(mp_obj_t error) {
    return error == MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception));
}

static mp_obj_t call(mp_obj_t function, mp_obj_t argument, mp_obj_t *raised) {
    state_t state = state_now();
    mp_obj_t result = MP_OBJ_NULL;
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        result = mp_call_function_1(function, argument);
        nlr_pop();
    } else {
        state_restore(&state);
        *raised = nlr.ret_val;
        if (!is_ctrl_c(nlr.ret_val)) {
            print_error(nlr.ret_val);
        }
    }
    return result;
}

bool handler_take_room(void) {
    bool room = depth++ < HANDLER_DEPTH;
    if (room) {
        MP_STATE_THREAD(stack_limit) += HANDLER_STACK;
        MP_STATE_THREAD(pystack_end) += HANDLER_PYTHON_STACK;
    }
    return room;
}

void handler_give_room_back(bool room) {
    if (room) {
        MP_STATE_THREAD(stack_limit) -= HANDLER_STACK;
        MP_STATE_THREAD(pystack_end) -= HANDLER_PYTHON_STACK;
    }
    depth--;
}

static mp_obj_t call_with_room(mp_obj_t function, mp_obj_t argument, mp_obj_t *raised) {
    bool room = handler_take_room();
    unsigned holds = ctrl_c_enter_handler();
    mp_obj_t result = call(function, argument, raised);
    ctrl_c_leave_handler(holds);
    handler_give_room_back(room);
    return result;
}

bool handler_call(mp_obj_t function, mp_obj_t argument, mp_obj_t *raised) {
    return call_with_room(function, argument, raised) != MP_OBJ_NULL;
}

#define mp_call_function_1_protected mp_call_function_1_protected_by_less
#include "py/runtime_utils.c"
#undef mp_call_function_1_protected

mp_obj_t mp_call_function_1_protected(mp_obj_t function, mp_obj_t argument) {
    mp_obj_t raised;
    return call_with_room(function, argument, &raised);
}
