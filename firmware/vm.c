// SPDX-License-Identifier: MIT
// py/vm.c, where what programs do most calls nothing. To an emulator a call through a pointer, a
// return or a jump to another page is as much as fifteen other instructions: it has to look up
// the code that it made of what is there.

#include "py/bc.h"
#include "py/objfun.h"
#include "py/objgenerator.h"
#include "py/objlist.h"
#include "py/runtime.h"

#include "cstack_look.h"
#include "quick_load_global.h"

#define INLINE static inline __attribute__((always_inline))

// Small integers are 2 n + 1, so they compare as they are. Each three bits belong to an
// operation, and tell whether it holds for less, equal and more.
#define HOLDS(op, less, equal, more) (((less) | (equal) << 1 | (more) << 2) << (3 * (op)))
#define COMPARISONS ( \
    HOLDS(MP_BINARY_OP_LESS, 1u, 0u, 0u) | HOLDS(MP_BINARY_OP_MORE, 0u, 0u, 1u) \
    | HOLDS(MP_BINARY_OP_EQUAL, 0u, 1u, 0u) | HOLDS(MP_BINARY_OP_NOT_EQUAL, 1u, 0u, 1u) \
    | HOLDS(MP_BINARY_OP_LESS_EQUAL, 1u, 1u, 0u) | HOLDS(MP_BINARY_OP_MORE_EQUAL, 0u, 1u, 1u))

INLINE mp_obj_t small_int_op(unsigned op, mp_int_t lhs, mp_int_t rhs) {
    mp_int_t result;
    if (op <= MP_BINARY_OP_NOT_EQUAL) {
        int order = (lhs > rhs) - (lhs < rhs);
        return mp_obj_new_bool(COMPARISONS >> (3 * op + 1 + order) & 1);
    }
    if (op >= MP_BINARY_OP_INPLACE_OR && op <= MP_BINARY_OP_INPLACE_POWER) {
        op += MP_BINARY_OP_OR - MP_BINARY_OP_INPLACE_OR;
    }
    if (op == MP_BINARY_OP_ADD) {
        if (!__builtin_add_overflow(lhs, rhs - 1, &result)) {
            return (mp_obj_t)result;
        }
    } else if (op == MP_BINARY_OP_SUBTRACT) {
        if (!__builtin_sub_overflow(lhs, rhs - 1, &result)) {
            return (mp_obj_t)result;
        }
    } else if (op == MP_BINARY_OP_AND) {
        return (mp_obj_t)(lhs & rhs);
    } else if (op == MP_BINARY_OP_MULTIPLY) {
        if (!__builtin_mul_overflow(lhs - 1, rhs >> 1, &result)) {
            return (mp_obj_t)(result + 1);
        }
    } else if (op == MP_BINARY_OP_XOR) {
        return (mp_obj_t)((lhs ^ rhs) | 1);
    } else if (op == MP_BINARY_OP_OR) {
        return (mp_obj_t)(lhs | rhs);
    } else if (op == MP_BINARY_OP_RSHIFT) {
        if ((mp_uint_t)rhs >> 1 < 31) {
            return (mp_obj_t)(lhs >> (rhs >> 1) | 1);
        }
    }
    return MP_OBJ_NULL;
}

// As in py/objfloat.c.
typedef struct {
    mp_obj_base_t base;
    mp_float_t value;
} float_object_t;

static __attribute__((noinline)) mp_obj_t float_op(unsigned op, mp_obj_t left, mp_obj_t right) {
    mp_float_t lhs = ((float_object_t *)MP_OBJ_TO_PTR(left))->value;
    mp_float_t rhs = ((float_object_t *)MP_OBJ_TO_PTR(right))->value;
    if (op >= MP_BINARY_OP_INPLACE_OR && op <= MP_BINARY_OP_INPLACE_POWER) {
        op += MP_BINARY_OP_OR - MP_BINARY_OP_INPLACE_OR;
    }
    if (op == MP_BINARY_OP_ADD) {
        lhs += rhs;
    } else if (op == MP_BINARY_OP_MULTIPLY) {
        lhs *= rhs;
    } else if (op == MP_BINARY_OP_SUBTRACT) {
        lhs -= rhs;
    } else if (op == MP_BINARY_OP_LESS) {
        return mp_obj_new_bool(lhs < rhs);
    } else if (op == MP_BINARY_OP_MORE) {
        return mp_obj_new_bool(lhs > rhs);
    } else if (op == MP_BINARY_OP_TRUE_DIVIDE && rhs != 0) {
        lhs /= rhs;
    } else {
        return MP_OBJ_NULL;
    }
    return mp_obj_new_float(lhs);
}

INLINE mp_obj_t quick_binary_op(unsigned op, mp_obj_t lhs, mp_obj_t rhs) {
    if ((mp_uint_t)lhs & (mp_uint_t)rhs & 1) {
        mp_obj_t result = small_int_op(op, (mp_int_t)lhs, (mp_int_t)rhs);
        if (result != MP_OBJ_NULL) {
            return result;
        }
    } else if (mp_obj_is_float(lhs) && mp_obj_is_float(rhs)) {
        mp_obj_t result = float_op(op, lhs, rhs);
        if (result != MP_OBJ_NULL) {
            return result;
        }
    }
    return mp_binary_op(op, lhs, rhs);
}

INLINE bool quick_is_true(mp_obj_t object) {
    if (object == mp_const_true) {
        return true;
    }
    if (object == mp_const_false) {
        return false;
    }
    return mp_obj_is_true(object);
}

// The items of a list or a tuple, with room for the index, or NULL.
INLINE mp_obj_t *item(mp_obj_t base, mp_obj_t index, const mp_obj_type_t *type) {
    if (!mp_obj_is_small_int(index) || !mp_obj_is_exact_type(base, type)) {
        return NULL;
    }
    mp_obj_list_t *list = MP_OBJ_TO_PTR(base);
    size_t n = MP_OBJ_SMALL_INT_VALUE(index);
    return n < list->len ? &list->items[n] : NULL;
}

static __attribute__((noinline)) mp_obj_t call_subscr(mp_obj_t base, mp_obj_t index, mp_obj_t value) {
    if (mp_obj_is_obj(base)) {
        const mp_obj_type_t *type = ((mp_obj_base_t *)MP_OBJ_TO_PTR(base))->type;
        if (MP_OBJ_TYPE_HAS_SLOT(type, subscr)) {
            mp_obj_t result = MP_OBJ_TYPE_GET_SLOT(type, subscr)(base, index, value);
            if (result != MP_OBJ_NULL) {
                return result;
            }
        }
    }
    return mp_obj_subscr(base, index, value);
}

INLINE mp_obj_t quick_subscr(mp_obj_t base, mp_obj_t index, mp_obj_t value) {
    mp_obj_t *place = item(base, index, &mp_type_list);
    if (place == NULL || value == MP_OBJ_NULL) {
        return call_subscr(base, index, value);
    }
    if (value == MP_OBJ_SENTINEL) {
        return *place;
    }
    *place = value;
    return mp_const_none;
}

INLINE mp_map_elem_t *quick_map_lookup(mp_map_t *map, mp_obj_t index, mp_map_lookup_kind_t kind) {
    size_t n = MP_STATE_VM(map_lookup_cache)[((uintptr_t)index >> 2) % MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE];
    if (n < map->alloc && map->table[n].key == index) {
        return &map->table[n];
    }
    return mp_map_lookup(map, index, kind);
}

INLINE mp_obj_t quick_iternext(mp_obj_t iterator) {
    const mp_obj_type_t *type = mp_obj_get_type(iterator);
    unsigned kind = type->flags & (MP_TYPE_FLAG_ITER_IS_ITERNEXT | MP_TYPE_FLAG_ITER_IS_CUSTOM);
    if (kind == MP_TYPE_FLAG_ITER_IS_ITERNEXT) {
        MP_STATE_THREAD(stop_iteration_arg) = MP_OBJ_NULL;
        return ((mp_fun_1_t)MP_OBJ_TYPE_GET_SLOT(type, iter))(iterator);
    }
    return mp_iternext_allow_raise(iterator);
}

INLINE const mp_obj_type_t *quick_get_type(mp_const_obj_t object) {
    return mp_obj_is_obj(object) ? ((mp_obj_base_t *)MP_OBJ_TO_PTR(object))->type : mp_obj_get_type(object);
}

INLINE mp_vm_return_kind_t quick_resume(mp_obj_t self, mp_obj_t sent, mp_obj_t thrown, mp_obj_t *result) {
    if (thrown == MP_OBJ_NULL && mp_obj_is_exact_type(self, &mp_type_gen_instance)) {
        return mp_obj_gen_resume(self, sent, thrown, result);
    }
    return mp_resume(self, sent, thrown, result);
}

INLINE void quick_nlr_pop(void) {
    MP_STATE_THREAD(nlr_top) = MP_STATE_THREAD(nlr_top)->prev;
}

// Made anew each time: it is not worth a register in all of the loop.
INLINE mp_state_thread_t *thread_state(void) {
    mp_state_ctx_t *state;
    __asm volatile ("movw %0, #:lower16:mp_state_ctx \n movt %0, #:upper16:mp_state_ctx" : "=r" (state));
    return &state->thread;
}

// nlr_push() in place, without its call and its return.
INLINE unsigned quick_nlr_push(nlr_buf_t *nlr) {
    mp_state_thread_t *state = thread_state();
    nlr->prev = state->nlr_top;
    nlr->pystack = state->pystack_cur;
    state->nlr_top = nlr;
    register uintptr_t r0 __asm("r0") = (uintptr_t)nlr->regs;
    __asm volatile (
        "adr.w  r1, 1f + 1          \n" // where nlr_jump() goes, with 1 in r0
        "stm    r0!, {r1, r4-r11}   \n"
        "str    sp, [r0], #4        \n"
        "vstm   r0, {d8-d10}        \n"
        "movs   r0, #0              \n"
        "1:                         \n"
        : "+r" (r0)
        :
        : "r1", "r2", "r3", "r12", "lr", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d16", "d17", "d18", "d19",
        "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28", "d29", "d30", "d31", "cc", "memory");
    return r0;
}

// A call of a function of bytecode that takes its arguments by position, with as many as it takes.
// Its frame is made as by fun_bc_call() and mp_setup_code_state(), which do the others.
INLINE mp_obj_t call_bytecode(mp_obj_fun_bc_t *self, size_t n_args, const mp_obj_t *args) {
    const byte *ip = self->bytecode;
    size_t n_state, n_exc_stack, scope_flags, n_pos_args, n_kwonly_args, n_def_args;
    MP_BC_PRELUDE_SIG_DECODE_INTO(ip, n_state, n_exc_stack, scope_flags, n_pos_args, n_kwonly_args, n_def_args);
    (void)n_def_args;
    size_t size = offsetof(mp_code_state_t, state) + n_state * sizeof(mp_obj_t) + n_exc_stack * sizeof(mp_exc_stack_t);
    size = (size + MICROPY_PYSTACK_ALIGN - 1) & ~(size_t)(MICROPY_PYSTACK_ALIGN - 1);
    mp_code_state_t *frame = (mp_code_state_t *)MP_STATE_THREAD(pystack_cur);
    if (scope_flags != 0 || n_kwonly_args != 0 || n_args != n_pos_args
        || (size_t)(MP_STATE_THREAD(pystack_end) - (uint8_t *)frame) < size) {
        return mp_call_function_n_kw(MP_OBJ_FROM_PTR(self), n_args, 0, args);
    }
    MP_STATE_THREAD(pystack_cur) = (uint8_t *)frame + size;
    size_t n_info, n_cell;
    MP_BC_PRELUDE_SIZE_DECODE_INTO(ip, n_info, n_cell);
    ip += n_info;
    frame->fun_bc = self;
    frame->n_state = n_state;
    frame->exc_sp_idx = 0;
    frame->sp = frame->state - 1;
    #if MICROPY_PY_SYS_SETTRACE
    frame->prev_state = NULL;
    frame->frame = NULL;
    #endif
    mp_obj_t *state = frame->state;
    mp_obj_t *first = state + n_state;
    for (size_t i = 0; i < n_args; i++) {
        *--first = args[i];
    }
    while (first > state) {
        *--first = MP_OBJ_NULL;
    }
    for (; n_cell != 0; n_cell--) {
        mp_obj_t *local = &state[n_state - 1 - *ip++];
        *local = mp_obj_new_cell(*local);
    }
    frame->ip = ip;
    frame->old_globals = mp_globals_get();
    mp_globals_set(self->context->module.globals);
    mp_vm_return_kind_t kind = mp_execute_bytecode(frame, MP_OBJ_NULL);
    mp_globals_set(frame->old_globals);
    mp_obj_t result = kind == MP_VM_RETURN_NORMAL ? *frame->sp : frame->state[0];
    mp_pystack_free(frame);
    if (kind != MP_VM_RETURN_NORMAL) {
        nlr_raise(result);
    }
    return result;
}

static __attribute__((noinline)) mp_obj_t quick_call(mp_obj_t function, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    if (n_kw == 0 && mp_obj_is_obj(function)) {
        const mp_obj_type_t *type = ((mp_obj_base_t *)MP_OBJ_TO_PTR(function))->type;
        mp_obj_fun_builtin_fixed_t *fixed = MP_OBJ_TO_PTR(function);
        if (type == &mp_type_fun_bc) {
            if (CSTACK_HAS_ROOM()) {
                return call_bytecode(MP_OBJ_TO_PTR(function), n_args, args);
            }
        } else if (type == &mp_type_fun_builtin_1) {
            if (n_args == 1) {
                return fixed->fun._1(args[0]);
            }
        } else if (type == &mp_type_fun_builtin_2) {
            if (n_args == 2) {
                return fixed->fun._2(args[0], args[1]);
            }
        }
        if (MP_OBJ_TYPE_HAS_SLOT(type, call)) {
            return MP_OBJ_TYPE_GET_SLOT(type, call)(function, n_args, n_kw, args);
        }
    }
    return mp_call_function_n_kw(function, n_args, n_kw, args);
}

static __attribute__((noinline)) mp_obj_t quick_call_method(size_t n_args, size_t n_kw, const mp_obj_t *args) {
    size_t self = args[1] != MP_OBJ_NULL;
    return quick_call(args[0], n_args + self, n_kw, args + 2 - self);
}

#define mp_binary_op quick_binary_op
#define mp_obj_is_true quick_is_true
#define mp_obj_subscr quick_subscr
#define mp_map_lookup quick_map_lookup
#define mp_load_global quick_load_global
#define mp_iternext_allow_raise quick_iternext
#define mp_obj_get_type quick_get_type
#define mp_resume quick_resume
#define mp_call_function_n_kw quick_call
#define mp_call_method_n_kw quick_call_method
#define nlr_pop quick_nlr_pop
#define nlr_push quick_nlr_push
#include "py/vm.c"
