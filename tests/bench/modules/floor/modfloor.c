// SPDX-License-Identifier: MIT
// The floor: a bare polling driver, the least that any driver on this machine
// can cost. One queue, fixed memory, the modern interface, no error handling,
// no interrupts, one notification for all that is added at a time.

#include <string.h>

#include "py/obj.h"
#include "py/runtime.h"

#include "cpu.h"
#include "device.h"
#include "timer.h"

#define QUEUE_SIZE 512
#define CHAIN 3

#define F_FLUSH (1u << 9)

static struct {
    struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
        uint16_t next;
    } desc[QUEUE_SIZE];
    struct {
        uint16_t flags;
        uint16_t idx;
        uint16_t ring[QUEUE_SIZE];
    } avail;
    struct {
        uint16_t flags;
        uint16_t idx;
        struct {
            uint32_t id;
            uint32_t length;
        } ring[QUEUE_SIZE];
    } used __attribute__((aligned(4)));
    struct {
        uint32_t kind;
        uint32_t reserved;
        uint64_t sector;
    } header[QUEUE_SIZE / CHAIN];
    uint8_t status[QUEUE_SIZE / CHAIN];
} queue __attribute__((aligned(16)));

static uintptr_t base;

static inline uint16_t used_idx(void) {
    return *(volatile uint16_t *)&queue.used.idx;
}

static void set_up(uintptr_t address) {
    base = address;
    memset(&queue, 0, sizeof(queue));
    // A disk whose driver cannot flush would sync every write (section 5.2.6.2).
    device_negotiate(base, F_FLUSH);
    device_queue(base, 0, QUEUE_SIZE, &queue.desc, &queue.avail, &queue.used);
    queue.avail.flags = NO_INTERRUPT;
    mmio_write(base + STATUS, 15); // DRIVER_OK
}

static void describe(unsigned d, const void *data, uint32_t length, unsigned flags) {
    queue.desc[d].address = (uintptr_t)data;
    queue.desc[d].length = length;
    queue.desc[d].flags = flags;
    queue.desc[d].next = d + 1;
}

// Publish what was put into the ring, and wait until all of it was used.
static void run(unsigned count) {
    uint16_t end = queue.avail.idx + count;
    barrier();
    *(volatile uint16_t *)&queue.avail.idx = end;
    barrier();
    if (!(*(volatile uint16_t *)&queue.used.flags & NO_NOTIFY)) {
        mmio_write(base + QUEUE_NOTIFY, 0);
    }
    while (used_idx() != end) {
    }
    barrier();
}

static void block_requests(bool write, uint64_t sector, const mp_buffer_info_t *data, unsigned depth) {
    for (unsigned i = 0; i < depth; i++) {
        unsigned d = CHAIN * i;
        queue.header[i].kind = write;
        queue.header[i].sector = sector + i * (data->len / 512);
        queue.status[i] = 0xff;
        describe(d, &queue.header[i], sizeof(queue.header[i]), F_NEXT);
        describe(d + 1, data->buf, data->len, F_NEXT | (write ? 0 : F_WRITE));
        describe(d + 2, &queue.status[i], 1, F_WRITE);
        queue.avail.ring[(queue.avail.idx + i) % QUEUE_SIZE] = d;
    }
    run(depth);
    for (unsigned i = 0; i < depth; i++) {
        if (queue.status[i] != 0) {
            mp_raise_msg(&mp_type_OSError, MP_ERROR_TEXT("status"));
        }
    }
}

// disk(address, write, buf, depth, rounds) -> microseconds: in each round `depth`
// requests for blocks that follow each other, all of them with the one buffer.
static mp_obj_t floor_disk(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t data;
    bool write = mp_obj_is_true(args[1]);
    mp_get_buffer_raise(args[2], &data, MP_BUFFER_RW);
    unsigned depth = mp_obj_get_int(args[3]);
    unsigned rounds = mp_obj_get_int(args[4]);
    if (depth == 0 || depth > QUEUE_SIZE / CHAIN) {
        mp_raise_ValueError(NULL);
    }
    set_up(mp_obj_get_int_truncated(args[0]));
    uint64_t start = timer_us();
    for (unsigned n = 0; n < rounds; n++) {
        block_requests(write, 0, &data, depth);
    }
    uint64_t took = timer_us() - start;
    mmio_write(base + STATUS, 0);
    return mp_obj_new_int_from_ull(took);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(floor_disk_obj, 5, 5, floor_disk);

// entropy(address, buf, rounds) -> microseconds: each round fills the buffer.
static mp_obj_t floor_entropy(mp_obj_t address, mp_obj_t buf, mp_obj_t rounds) {
    mp_buffer_info_t data;
    mp_get_buffer_raise(buf, &data, MP_BUFFER_RW);
    unsigned count = mp_obj_get_int(rounds);
    set_up(mp_obj_get_int_truncated(address));
    uint64_t start = timer_us();
    for (unsigned n = 0; n < count; n++) {
        for (uint32_t filled = 0; filled < data.len;) {
            uint16_t idx = queue.avail.idx;
            describe(0, (uint8_t *)data.buf + filled, data.len - filled, F_WRITE);
            queue.avail.ring[idx % QUEUE_SIZE] = 0;
            run(1);
            filled += queue.used.ring[idx % QUEUE_SIZE].length;
        }
    }
    uint64_t took = timer_us() - start;
    mmio_write(base + STATUS, 0);
    return mp_obj_new_int_from_ull(took);
}
static MP_DEFINE_CONST_FUN_OBJ_3(floor_entropy_obj, floor_entropy);

static const mp_rom_map_elem_t floor_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_floor) },
    { MP_ROM_QSTR(MP_QSTR_disk), MP_ROM_PTR(&floor_disk_obj) },
    { MP_ROM_QSTR(MP_QSTR_entropy), MP_ROM_PTR(&floor_entropy_obj) },
};
static MP_DEFINE_CONST_DICT(floor_globals, floor_globals_table);

const mp_obj_module_t floor_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&floor_globals,
};

MP_REGISTER_MODULE(MP_QSTR_floor, floor_module);
