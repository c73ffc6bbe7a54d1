// SPDX-License-Identifier: MIT
// The network's floor: the driver of the network device in C, as bare as that of the disks, in the
// place of lib/virtio's. lwIP, sockets and firmware/lan.c are the same above it. It believes
// whatever the device says, and never looks whether a frame is one.

#include <string.h>

#include "py/binary.h"
#include "py/objarray.h"
#include "py/runtime.h"

#include "cpu.h"
#include "device.h"
#include "gic.h"

#define SLOTS 64
#define SLOT_SIZE 2048
#define HEADER 12
#define BATCH 32 // as lib/virtio/drivers/lan.py
#define MTU 1500

enum { RECEIVE, TRANSMIT };

#define F_MAC (1u << 5)

typedef struct {
    struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
        uint16_t next;
    } desc[SLOTS];
    struct {
        uint16_t flags;
        uint16_t idx;
        uint16_t ring[SLOTS];
    } avail;
    struct {
        uint16_t flags;
        uint16_t idx;
        struct {
            uint32_t id;
            uint32_t length;
        } ring[SLOTS];
    } used __attribute__((aligned(4)));
    uint8_t slots[SLOTS][SLOT_SIZE];
    uint16_t seen; // of what was used
    uint16_t end; // of what is available
} __attribute__((aligned(16))) queue_t;

static queue_t queues[2];
static uintptr_t base;
static mp_sched_node_t node;

// What lan.c and its driver share, see there.
enum { FREE, READY, HEADER_SIZE, SIZE_OF_SLOT, FREE_LIST, READY_LIST = FREE_LIST + SLOTS };
static uint32_t state[READY_LIST + SLOTS];
static uint32_t pieces[2 * BATCH];

static const mp_obj_array_t state_obj = {
    { &mp_type_bytearray }, BYTEARRAY_TYPECODE, 0, sizeof(state), state
};
static const mp_obj_array_t pieces_obj = {
    { &mp_type_bytearray }, BYTEARRAY_TYPECODE, 0, sizeof(pieces), pieces
};
static const mp_obj_array_t slots_obj = {
    { &mp_type_bytearray }, BYTEARRAY_TYPECODE, 0, sizeof(queues[0].slots), queues[TRANSMIT].slots
};

// Functions of lan_netif, which are in ROM.
static mp_obj_t input;

static bool has_used(const queue_t *queue) {
    return *(volatile const uint16_t *)&queue->used.idx != queue->seen;
}

static void post(queue_t *queue, unsigned slot, uint32_t length) {
    queue->desc[slot].length = length;
    queue->avail.ring[queue->end++ % SLOTS] = slot;
}

static void publish(unsigned n) {
    queue_t *queue = &queues[n];
    barrier();
    *(volatile uint16_t *)&queue->avail.idx = queue->end;
    barrier();
    if (!(*(volatile uint16_t *)&queue->used.flags & NO_NOTIFY)) {
        mmio_write(base + QUEUE_NOTIFY, n);
    }
}

// The driver's two functions, which lan.c calls

static mp_obj_t net_send(void) {
    queue_t *queue = &queues[TRANSMIT];
    for (uint32_t i = 0; i < state[READY]; i++) {
        uint32_t word = state[READY_LIST + i];
        post(queue, word & 0xffff, word >> 16);
    }
    if (state[READY] != 0) {
        state[READY] = 0;
        publish(TRANSMIT);
    }
    while (has_used(queue)) {
        barrier();
        state[FREE_LIST + state[FREE]++] = queue->used.ring[queue->seen++ % SLOTS].id;
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(net_send_obj, net_send);

static mp_obj_t net_receive(void) {
    queue_t *queue = &queues[RECEIVE];
    unsigned count = 0;
    uint8_t slots[BATCH];
    while (count < BATCH && has_used(queue)) {
        barrier();
        unsigned n = queue->seen++ % SLOTS;
        slots[count] = queue->used.ring[n].id;
        pieces[2 * count] = (uintptr_t)queue->slots[slots[count]] + HEADER;
        pieces[2 * count + 1] = queue->used.ring[n].length - HEADER;
        count++;
    }
    if (count != 0) {
        mp_call_function_2(input, MP_OBJ_FROM_PTR(&pieces_obj), MP_OBJ_NEW_SMALL_INT(count));
        for (unsigned i = 0; i < count; i++) {
            post(queue, slots[i], SLOT_SIZE);
        }
        publish(RECEIVE);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(net_receive_obj, net_receive);

// Interrupts are off from the first one until all has been received.
static void receive_all(mp_sched_node_t *self) {
    queue_t *queue = &queues[RECEIVE];
    net_receive();
    if (has_used(queue)) {
        mp_sched_schedule_node(self, receive_all);
        return;
    }
    queue->avail.flags = 0;
    barrier();
    if (has_used(queue)) {
        mp_sched_schedule_node(self, receive_all);
    }
}

static void interrupted(uint32_t intid) {
    (void)intid;
    mmio_write(base + INTERRUPT_ACK, mmio_read(base + INTERRUPT_STATUS));
    queues[RECEIVE].avail.flags = NO_INTERRUPT;
    mp_sched_schedule_node(&node, receive_all);
}

static void describe(queue_t *queue, unsigned flags) {
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        queue->desc[slot].address = (uintptr_t)queue->slots[slot];
        queue->desc[slot].flags = flags;
    }
}

// start(address, intid, lan_netif): the device is the interface's from here on, until the machine's end.
static mp_obj_t floor_start(mp_obj_t address, mp_obj_t intid, mp_obj_t lan_netif) {
    base = mp_obj_get_int_truncated(address);
    memset(queues, 0, sizeof(queues));
    device_negotiate(base, F_MAC);
    for (unsigned n = 0; n < 2; n++) {
        device_queue(base, n, SLOTS, queues[n].desc, &queues[n].avail, &queues[n].used);
    }
    describe(&queues[RECEIVE], F_WRITE);
    describe(&queues[TRANSMIT], 0);
    queues[TRANSMIT].avail.flags = NO_INTERRUPT;
    state[FREE] = SLOTS;
    state[READY] = 0;
    state[HEADER_SIZE] = HEADER;
    state[SIZE_OF_SLOT] = SLOT_SIZE;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        state[FREE_LIST + slot] = slot;
        post(&queues[RECEIVE], slot, SLOT_SIZE);
    }
    mmio_write(base + STATUS, 15); // DRIVER_OK
    publish(RECEIVE);

    uint8_t mac[6];
    for (unsigned i = 0; i < sizeof(mac); i++) {
        mac[i] = *(volatile uint8_t *)(base + CONFIG + i);
    }
    input = mp_load_attr(lan_netif, MP_QSTR_input);
    const mp_obj_t about[] = {
        mp_obj_new_bytes(mac, sizeof(mac)), MP_OBJ_NEW_SMALL_INT(MTU),
        MP_OBJ_FROM_PTR(&slots_obj), MP_OBJ_FROM_PTR(&state_obj),
        MP_OBJ_FROM_PTR(&net_send_obj), MP_OBJ_FROM_PTR(&net_receive_obj), mp_const_false,
    };
    mp_call_function_n_kw(mp_load_attr(lan_netif, MP_QSTR_attach), MP_ARRAY_SIZE(about), 0, about);
    gic_enable(mp_obj_get_int(intid), interrupted);
    mp_call_function_1(mp_load_attr(lan_netif, MP_QSTR_link), mp_const_true);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(floor_start_obj, floor_start);

static const mp_rom_map_elem_t floor_net_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_floor_net) },
    { MP_ROM_QSTR(MP_QSTR_start), MP_ROM_PTR(&floor_start_obj) },
};
static MP_DEFINE_CONST_DICT(floor_net_globals, floor_net_globals_table);

const mp_obj_module_t floor_net_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&floor_net_globals,
};

MP_REGISTER_MODULE(MP_QSTR_floor_net, floor_net_module);
