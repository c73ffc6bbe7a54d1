// SPDX-License-Identifier: MIT
// MicroPython's configuration: everything that the machine can carry, minus
// what needs a library (TLS, network, btree) or a kind of hardware (pins,
// buses) that is not there.

#include <alloca.h>
#include <stdint.h>

#include "mpconfigboard.h"

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EVERYTHING)

// Code generation. Native code lies on the heap, in Thumb state.
#define MICROPY_PERSISTENT_CODE_LOAD (1)
#define MICROPY_EMIT_THUMB (1)
#define MICROPY_EMIT_INLINE_THUMB (1)
#define MICROPY_MAKE_POINTER_CALLABLE(p) ((void *)((mp_uint_t)(p) | 1))

// py/emitglue.c makes new code executable in the words of CMSIS.
#define __ICACHE_PRESENT (1)
#define MP_HAL_CLEAN_DCACHE(code, len) mmu_sync_code(code, len)
#define SCB_InvalidateICache() (void)0

// Memory. The heap begins small and grows by whole areas, so neither boot nor
// collection pays for memory that nobody uses.
#define MICROPY_ENABLE_GC (1)
#define MICROPY_GC_SPLIT_HEAP (1)
#define MICROPY_GC_SPLIT_HEAP_AUTO (1)
#define MICROPY_ENABLE_PYSTACK (1)
#define MICROPY_ALLOC_GC_STACK_SIZE (1024)
// Each time that the parser's stacks grow, the collector looks through the whole of them.
#define MICROPY_ALLOC_PARSE_RULE_INC (512)
#define MICROPY_ALLOC_PARSE_RESULT_INC (256)
// What a handler gets beyond the program, which may be at the end of its stack, and a finaliser in it.
#define HANDLER_STACK 6144
#define HANDLER_PYTHON_STACK 4096
#define HANDLER_DEPTH 3
#define MICROPY_STACK_CHECK_MARGIN (8192 + HANDLER_DEPTH * HANDLER_STACK)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
// Its table is not counted where the heap grows: what is as large as the growth does not fit then.
#define MICROPY_PY_WEAKREF (0)
#define MICROPY_MALLOC_USES_ALLOCATED_SIZE (1)
#define MICROPY_MEM_STATS (1)
#define MP_PLAT_ALLOC_HEAP(size) heap_alloc(size)
#define MP_PLAT_FREE_HEAP(area) heap_free(area)

// Interpreter.
// A jump by a table costs an emulator more than the comparisons of a switch for the commonest opcodes.
#define MICROPY_OPT_COMPUTED_GOTO (0)
// An entry for every name that is built in: in a smaller cache two of them share
// one, and each look-up of the one is a miss for the other.
#define MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE (4096)
// What it keeps from being inlined is two steps of each allocation.
#define MP_NOINLINE
#define MICROPY_LONGINT_IMPL (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_DOUBLE)
#define MICROPY_WARNINGS (1)
#define MICROPY_PY_STR_BYTES_CMP_WARN (1)
#define MICROPY_USE_INTERNAL_ERRNO (1)
#define MICROPY_SCHEDULER_DEPTH (64) // when it is full a Timer's callback is lost
#define MICROPY_SCHEDULER_STATIC_NODES (1)
#define MICROPY_SCHED_HOOK_SCHEDULED wait_note_event()
#define MICROPY_WRAP_MP_SCHED_KEYBOARD_INTERRUPT(name) name##_at_once // ctrl_c.c has the other
#define MICROPY_READLINE_HISTORY_SIZE (50)
#define MICROPY_REPL_STDIN_BUFFER_MAX (4096)

// Modules.
#define MICROPY_EPOCH_IS_1970 (1)
#define MICROPY_PY_GC_COLLECT_RETVAL (1)
#define MICROPY_PY_OS_INCLUDEFILE "modos_port.c"
#define MICROPY_PY_OS_DUPTERM (2) // the second is the terminal on a port
#define MICROPY_PY_OS_DUPTERM_BUILTIN_STREAM (1)
#define MICROPY_PY_OS_DUPTERM_NOTIFY (1)
#define MICROPY_PY_OS_URANDOM (1)
#define MICROPY_PY_OS_UNAME (1)
#define MICROPY_PY_MATH_GAMMA_FIX_NEGINF (1)
#define MICROPY_PY_SYS_EXC_INFO (1)
#define MICROPY_PY_WEBSOCKET (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_PY_TIME_INCLUDEFILE "modtime_port.c"
#define MICROPY_PY_MACHINE (1)
#define MICROPY_PY_MACHINE_INCLUDEFILE "modmachine_port.c"
#define MICROPY_PY_MACHINE_BARE_METAL_FUNCS (1)
#define MICROPY_PY_MACHINE_RESET (1)
#define MICROPY_PY_MACHINE_DISABLE_IRQ_ENABLE_IRQ (1)
#define MICROPY_PY_MACHINE_SIGNAL (0)
#define MICROPY_PY_MACHINE_TIMER (1)
#define MICROPY_PY_MACHINE_WDT (1)
#define MICROPY_PY_MACHINE_WDT_INCLUDEFILE "machine_wdt_port.c"
#define MICROPY_PY_PENDSV_ENTER uint32_t pendsv_state = irq_disable()
#define MICROPY_PY_PENDSV_EXIT irq_restore(pendsv_state)
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC entropy_seed()

// Network: lwIP's sockets, and TLS.
#define MICROPY_PY_NETWORK (1)
#define MICROPY_PORT_NETWORK_INTERFACES { MP_ROM_QSTR(MP_QSTR_LAN), MP_ROM_PTR(&lan_type) },
extern const struct _mp_obj_type_t lan_type;
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "micropython"
#define MICROPY_PY_LWIP_ENTER lan_enter();
#define MICROPY_PY_LWIP_REENTER lan_enter();
#define MICROPY_PY_LWIP_EXIT lan_leave();
#define MICROPY_INTERNAL_EVENT_HOOK lan_poll()
void lan_enter(void);
void lan_leave(void);
void lan_poll(void);
#define MICROPY_PY_SOCKET_EXTENDED_STATE (0)
#define MICROPY_PY_WEBREPL (1)
#define MICROPY_PY_HASHLIB_MD5 (1)
#define MICROPY_PY_HASHLIB_SHA1 (1)
#define MICROPY_PY_HASHLIB_SHA256 (1)
#define MICROPY_PY_CRYPTOLIB (1)
#define MICROPY_PY_CRYPTOLIB_CTR (1)
#define MICROPY_TRACKED_ALLOC (1)

// Filesystems.
#define MICROPY_VFS (1)
#define MICROPY_READER_VFS (1)
#define MICROPY_VFS_ROM (1)
#define MICROPY_VFS_ROM_IOCTL (1)
#define MICROPY_FATFS_ENABLE_LFN (2)
#define MICROPY_FATFS_LFN_CODE_PAGE 437
#define MICROPY_FATFS_RPATH (2)
#define MICROPY_FATFS_MAX_SS (4096)
#define MICROPY_FATFS_USE_LABEL (1)
// A folder's path with a name of 255 characters, each of three bytes.
#define MICROPY_ALLOC_PATH_MAX (1024)

// The default list and, after the blank line, what disks and faults add to it.
#define MP_EPROTO (71)
#define MICROPY_PY_ERRNO_LIST \
    X(EPERM) X(ENOENT) X(EIO) X(EBADF) X(EAGAIN) X(ENOMEM) X(EACCES) X(EEXIST) \
    X(ENODEV) X(EISDIR) X(EINVAL) X(EOPNOTSUPP) X(EADDRINUSE) X(ECONNABORTED) \
    X(ECONNRESET) X(ENOBUFS) X(ENOTCONN) X(ETIMEDOUT) X(ECONNREFUSED) \
    X(EHOSTUNREACH) X(EALREADY) X(EINPROGRESS) \
    \
    X(EFAULT) X(EBUSY) X(ENOTDIR) X(ENOSPC) X(EROFS) X(EPROTO)

#define MP_SSIZE_MAX (0x7fffffff)
#define MP_STATE_PORT MP_STATE_VM

typedef intptr_t mp_int_t;
typedef uintptr_t mp_uint_t;
typedef intptr_t mp_off_t;

#include "cpu.h"
#include "entropy.h"
#include "heap.h"
#include "mmu.h"
#include "timer.h"
#include "wait.h"
