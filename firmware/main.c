// SPDX-License-Identifier: MIT
// One pass of the outer loop is one life of the interpreter, from a start or
// soft reset to the next.

#include "py/cstack.h"
#include "py/gc.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/pystack.h"
#include "py/runtime.h"
#include "extmod/modnetwork.h"
#include "shared/readline/readline.h"
#include "shared/runtime/pyexec.h"
#include "shared/runtime/softtimer.h"

#include "exceptions.h"
#include "fdt.h"
#include "fw_cfg.h"
#include "gic.h"
#include "handler.h"
#include "heap.h"
#include "interrupt.h"
#include "lan.h"
#include "linker.h"
#include "mmu.h"
#include "mpconfigboard.h"
#include "pci.h"
#include "port_terminal.h"
#include "psci.h"
#include "tls_port.h"
#include "uart.h"
#include "virtio_reset.h"

// The collector's first area; it asks for more when this is full. Large enough
// for most programs, small enough that a collection stays a matter of ms.
#define FIRST_HEAP_AREA (4 * 1024 * 1024)
// What the start-up may need besides a heap that is limited; it too may ask for more.
#define START_UP_HEAP (1024 * 1024)
#define EMERGENCY_EXCEPTION_SIZE 256

// Frames of Python calls. On the heap each one would be an allocation, and one of
// several blocks: those are searched for from the start, which takes long when
// the heap is full of small objects. The C stack ends first, unless functions have
// 20 local variables and more.
static uint8_t python_stack[128 * 1024 + HANDLER_DEPTH * HANDLER_PYTHON_STACK] __attribute__((aligned(8)));

static size_t ram_size(void) {
    size_t size = fdt_ram_size();
    return size == 0 ? BOARD_RAM_SIZE_MIN : size;
}

// With -fw_cfg name=opt/org.micropython/heap,string=BYTES a program begins with that much free
// memory and gets no more, as on a small board. What the start-up took is not counted: the disks'
// caches alone are larger than many a board. So the rest of the heap is taken out of use here.
static size_t heap_limit;
static bool heap_limited;

MP_REGISTER_ROOT_POINTER(void *heap_out_of_use);

static void start_interpreter(size_t ram) {
    // Whatever ran before, an earlier life or another program, may have left a
    // device with buffers in the memory that is about to become the heap.
    virtio_reset_all();
    heap_limited = false;
    MP_STATE_VM(heap_out_of_use) = NULL;
    heap_init(_heap_start, (void *)(BOARD_RAM_BASE + ram));
    size_t size = MIN(heap_limit == 0 ? FIRST_HEAP_AREA : heap_limit + START_UP_HEAP, heap_largest());
    void *area = heap_alloc(size);
    gc_init(area, (char *)area + size);
    mp_pystack_init(python_stack, python_stack + sizeof(python_stack) - HANDLER_DEPTH * HANDLER_PYTHON_STACK);
    mp_init();
    // An exception that comes where there is no memory keeps its arguments: StopIteration has what a
    // coroutine returned, OSError its number.
    mp_alloc_emergency_exception_buf(MP_OBJ_NEW_SMALL_INT(EMERGENCY_EXCEPTION_SIZE));
    mod_network_init();
    mp_obj_list_append(mp_sys_path, MP_OBJ_NEW_QSTR(MP_QSTR__slash_lib));
    readline_init0();
}

#define WHOLE_BLOCKS(bytes) ((bytes) & ~(size_t)(MICROPY_BYTES_PER_GC_BLOCK - 1))

static void limit_heap(void) {
    heap_limited = heap_limit != 0;
    if (!heap_limited) {
        return;
    }
    gc_collect();
    gc_info_t info;
    gc_info(&info);
    // What is left is to be in one piece, not in the holes that the start-up code has left.
    size_t most = info.max_free * MICROPY_BYTES_PER_GC_BLOCK;
    void *kept = gc_alloc(MIN(heap_limit, most), 0);
    size_t spare = info.free > heap_limit ? WHOLE_BLOCKS(info.free - heap_limit) : 0;
    uint16_t collects = MP_STATE_MEM(gc_auto_collect_enabled);
    MP_STATE_MEM(gc_auto_collect_enabled) = 0;
    for (size_t size = spare; size >= MICROPY_BYTES_PER_GC_BLOCK; size = MIN(size, spare)) {
        void **piece = gc_alloc(size, 0);
        if (piece == NULL) {
            size = WHOLE_BLOCKS(size / 2);
            continue;
        }
        spare -= gc_nbytes(piece);
        *piece = MP_STATE_VM(heap_out_of_use);
        MP_STATE_VM(heap_out_of_use) = piece;
    }
    MP_STATE_MEM(gc_auto_collect_enabled) = collects;
    gc_free(kept);
}

static void stop_interpreter(void) {
    mp_printf(&mp_plat_print, "MPY: soft reboot\n");
    port_terminal_flush();
    interrupt_reset_all();
    soft_timer_deinit();
    gc_sweep_all();
    tls_deinit();
    lan_deinit();
    port_terminal_detach();
    mp_deinit();
}

// The frozen start-up code, in a namespace of its own: the user's begins empty.
// An exception it raises is printed, and that is all.
static void run_boot(bool started) {
    mp_obj_dict_t *main_globals = mp_globals_get();
    mp_obj_dict_t *boot_globals = MP_OBJ_TO_PTR(mp_obj_new_dict(0));
    mp_globals_set(boot_globals);
    mp_locals_set(boot_globals);
    mp_store_global(MP_QSTR_started, mp_obj_new_bool(started));
    pyexec_frozen_module("_boot.py", false);
    mp_globals_set(main_globals);
    mp_locals_set(main_globals);
}

// boot.py, main.py. Returns false if one of them asked for a soft reset. After a fault that one of
// them may have caused it would only come again, and again.
static bool run_scripts(void) {
    static bool left_out;
    if (fault_came_at_once() && !left_out) {
        left_out = true;
        mp_printf(&mp_plat_print, "A fault has just reset the board: boot.py and main.py wait for Ctrl-D.\n");
        return true;
    }
    int result = pyexec_file_if_exists("boot.py");
    if (!(result & PYEXEC_FORCED_EXIT) && result != 0 && pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL) {
        result = pyexec_file_if_exists("main.py");
    }
    return !(result & PYEXEC_FORCED_EXIT);
}

// Returns when the user asks for a soft reset.
static void run_repl(void) {
    int result = 0;
    while (result == 0) {
        result = pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl();
    }
}

// Says what keeps this machine from being the board, and ends.
static void check_machine(void) {
    const uint32_t *cursor = NULL;
    fdt_device_t device;
    if (fdt_next_device("arm,gic-v3", &cursor, &device)) {
        mp_printf(&mp_plat_print, "This machine has a GICv3: start it with -M virt,gic-version=2\n");
        psci_system_off();
    }
    if (fdt_ram_size() == 0) {
        mp_printf(&mp_plat_print, "No device tree was found, so there are no devices\n");
    }
}

int main(void) {
    size_t ram = ram_size();
    mmu_map_ram(ram);
    check_machine();
    heap_limit = fw_cfg_number("opt/org.micropython/heap");
    reset_cause();
    gic_init();
    timer_init();
    soft_timer_init();
    lan_init();
    uart_init();
    mp_cstack_init_with_top(_stack_end, _stack_end - _stack_start);

    for (bool started = false;; started = true) {
        start_interpreter(ram);
        run_boot(started);
        if (!started) {
            pci_report();
        }
        limit_heap();
        faults_reset_from_now_on();
        if (run_scripts()) {
            run_repl();
        }
        stop_interpreter();
    }
}

// The largest area the collector may add.
size_t gc_get_max_new_split(void) {
    return heap_limited ? 0 : heap_largest();
}

// An exception that nobody catches: there is no code to return to.
void nlr_jump_fail(void *value) {
    mp_printf(&mp_plat_print, "FATAL: uncaught exception\n");
    mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(value));
    reset_machine(RESET_CAUSE_FAULT);
}
