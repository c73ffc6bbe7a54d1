// SPDX-License-Identifier: MIT
// network.LAN, and what lies between lwIP and the driver, lib/virtio/drivers/lan.py.
//
// Frames cross in slots of memory that the driver gave to the device. lwIP never calls Python:
// what it sends is copied into a free slot, and handed to the driver when lwIP has been left. Python
// never runs inside lwIP: the driver calls input() from a scheduled function, and where a program
// waits with the scheduler locked.

#include <string.h>

#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/mpprint.h"
#include "py/runtime.h"
#include "extmod/modnetwork.h"
#include "shared/netutils/netutils.h"
#include "shared/runtime/softtimer.h"

#include "lwip/apps/mdns.h"
#include "lwip/apps/mdns_out.h"
#include "lwip/dhcp.h"
#include "lwip/dhcp6.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/igmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/init.h"
#include "lwip/ip6_frag.h"
#include "lwip/mld6.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/tcp.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include "entropy.h"
#include "guard.h"
#include "lan.h"
#include "mpconfigboard.h"

// Of a received piece's length: another piece of the same frame follows; and of a first one, that its
// checksum was never completed, as it never was on a wire; that the device has found it right.
#define MORE (1u << 31)
#define VALID (1u << 30)
#define PARTIAL (1u << 29)
#define PIECE_LENGTH (PARTIAL - 1)

// The device's header before a frame (virtio 1.2, section 5.1.6): flags, csum_start, csum_offset.
enum { HEADER_FLAGS, HEADER_START = 6, HEADER_OFFSET = 8 };
#define NEEDS_CSUM 1

// How long the last frames of an interpreter's life may take.
#define SEND_MS 20

// What the driver gave to attach().
enum { DRIVER_SLOTS, DRIVER_STATE, DRIVER_SEND, DRIVER_POLL, DRIVER_WORDS };
MP_REGISTER_ROOT_POINTER(mp_obj_t lan_driver[4]);

// The words of DRIVER_STATE, an array that both sides write, but never at the same time: the slots
// that are free, a stack; then those that are to be sent, with their lengths in the upper half.
enum { STATE_FREE, STATE_READY, STATE_HEADER, STATE_SLOT_SIZE, STATE_LISTS };

static struct netif netif;
static bool attached;
static uint8_t *slots;
static uint32_t *state;
static size_t slot_count;
static bool completes; // the device completes checksums

static unsigned depth; // of lan_enter()
static bool more_follow; // frames of the same batch
static bool in_driver; // while Python sends or receives
static bool starved; // a frame found no free slot
static soft_timer_entry_t timer;
static uint32_t timer_at; // when it comes, in ms; valid while it is armed
static bool timer_armed;
static mp_sched_node_t timer_node;
static mp_sched_node_t leave_node;

// lwIP's ports, and what it calls random

uint32_t sys_now(void) {
    return mp_hal_ticks_ms();
}

uint32_t lan_random(void) {
    // xoshiro128**, seeded by the entropy device when the interface is attached.
    static uint32_t s[4] = { 1, 2, 3, 4 };
    static bool seeded;
    if (!seeded && attached) {
        seeded = true;
        uint32_t seed[4];
        if (entropy_read((uint8_t *)seed, sizeof(seed))) {
            memcpy(s, seed, sizeof(s));
        }
        s[0] ^= mp_hal_ticks_cpu();
    }
    uint32_t product = s[1] * 5;
    uint32_t result = (product << 7 | product >> 25) * 9;
    uint32_t t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 11 | s[3] >> 21;
    return result;
}

// Calls a function of the driver; nothing that it raises comes out of a socket.
static void call_driver(int function) {
    if (in_driver || !attached) {
        return;
    }
    in_driver = true;
    guard_t guard;
    guard_enter(&guard);
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_call_function_0(MP_STATE_VM(lan_driver)[function]);
        nlr_pop();
    } else {
        netif_set_link_down(&netif);
    }
    guard_leave(&guard);
    in_driver = false;
}

// Data that a socket could not take yet is offered again at once: lwIP itself would wait for 250 ms.
static void offer_refused(void) {
    struct tcp_pcb *pcb = tcp_active_pcbs;
    while (pcb != NULL) {
        struct tcp_pcb *next = pcb->next;
        if (pcb->refused_data != NULL) {
            tcp_active_pcbs_changed = 0;
            tcp_process_refused_data(pcb);
            if (tcp_active_pcbs_changed) {
                next = tcp_active_pcbs;
            }
        }
        pcb = next;
    }
}

static void timer_due(soft_timer_entry_t *self);

// Whether a timer of lwIP's that runs always has nothing to do: of all that run ten or two times a
// second, that is so nearly always. Whatever gives it something is followed by set_timer().
static bool is_idle(const struct sys_timeo *timeout) {
    if (timeout->h != lwip_cyclic_timer) {
        return false;
    }
    lwip_cyclic_timer_handler handler = ((const struct lwip_cyclic_timer *)timeout->arg)->handler;
    if (handler == igmp_tmr) {
        const struct igmp_group *group = attached ? netif_igmp_data(&netif) : NULL;
        while (group != NULL && group->timer == 0) {
            group = group->next;
        }
        return group == NULL;
    }
    if (handler == mld6_tmr) {
        const struct mld_group *group = attached ? netif_mld6_data(&netif) : NULL;
        while (group != NULL && group->timer == 0) {
            group = group->next;
        }
        return group == NULL;
    }
    if (handler == dhcp_fine_tmr) {
        const struct dhcp *dhcp = attached ? netif_dhcp_data(&netif) : NULL;
        return dhcp == NULL || dhcp->request_timeout == 0;
    }
    if (handler == dhcp6_tmr) {
        const struct dhcp6 *dhcp6 = attached ? netif_dhcp6_data(&netif) : NULL;
        return dhcp6 == NULL || dhcp6->request_timeout == 0;
    }
    return false;
}

static void set_timer(void) {
    const struct sys_timeo *timeout = *sys_timeouts_get_next_timeout();
    while (timeout != NULL && is_idle(timeout)) {
        timeout = timeout->next;
    }
    if (timeout == NULL) {
        return;
    }
    uint32_t at = timeout->time;
    if (!timer_armed || (int32_t)(at - timer_at) < 0) {
        timer_armed = true;
        timer_at = at;
        int32_t left = at - mp_hal_ticks_ms();
        soft_timer_reinsert(&timer, MAX(left, 0));
    }
}

// Looks for frames, too: what an interrupt left there, with no room in the scheduler's queue, brings
// no other.
static void run_timeouts(mp_sched_node_t *node) {
    (void)node;
    call_driver(DRIVER_POLL);
    lan_enter();
    sys_check_timeouts();
    lan_leave();
}

// Soft timers run in an interrupt here, where lwIP may not.
static void timer_due(soft_timer_entry_t *self) {
    (void)self;
    timer_armed = false;
    mp_sched_schedule_node(&timer_node, run_timeouts);
}

void lan_enter(void) {
    depth++;
}

// What lwIP does of checksums here. Those of TCP are the device's where it can: others are few, and
// lwIP may send them in fragments, of which none has all that a device would need.
static void set_checksums(uint16_t unchecked) {
    uint16_t left = completes ? NETIF_CHECKSUM_GEN_TCP : 0;
    NETIF_SET_CHECKSUM_CTRL(&netif, NETIF_CHECKSUM_ENABLE_ALL & ~(left | unchecked));
}

// What goes to our own address comes by here, and no device has completed its checksum.
static void poll_loopback(void) {
    if (completes) {
        set_checksums(NETIF_CHECKSUM_CHECK_TCP);
    }
    netif_poll_all();
    if (completes) {
        set_checksums(0);
    }
}

// Connections whose frames found no slot have them still, and would wait for a timer.
static void output_again(void) {
    starved = false;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb->flags & TF_NAGLEMEMERR) {
            tcp_output(pcb);
        }
    }
}

void lan_leave(void) {
    if (depth > 1) {
        depth--;
        return;
    }
    offer_refused();
    poll_loopback();
    while (attached && (state[STATE_READY] != 0 || starved)) {
        depth = 0;
        call_driver(DRIVER_SEND); // it also takes back what was sent
        depth = 1;
        if (!starved || state[STATE_FREE] == 0) {
            break;
        }
        output_again();
    }
    depth = 0;
    set_timer();
}

static void leave_later(mp_sched_node_t *node) {
    (void)node;
    lan_enter();
    lan_leave();
}

void lan_poll(void) {
    if (depth == 0 && attached && MP_STATE_VM(sched_state) < 0) {
        run_timeouts(NULL);
    }
}

// Where the TCP segment of a frame begins; 0 where there is none, or a fragment of one.
static uint32_t tcp_at(const uint8_t *frame, uint32_t length) {
    const uint8_t *ip = frame + SIZEOF_ETH_HDR;
    uint32_t at = 0;
    if (frame[12] == 0x08 && frame[13] == 0x00) {
        const struct ip_hdr *hdr = (const struct ip_hdr *)ip;
        bool fragment = IPH_OFFSET(hdr) & PP_HTONS(IP_OFFMASK | IP_MF);
        if (IPH_PROTO(hdr) == IP_PROTO_TCP && !fragment) {
            at = SIZEOF_ETH_HDR + IPH_HL_BYTES(hdr);
        }
    } else if (frame[12] == 0x86 && frame[13] == 0xdd) {
        if (IP6H_NEXTH((const struct ip6_hdr *)ip) == IP6_NEXTH_TCP) {
            at = SIZEOF_ETH_HDR + IP6_HLEN;
        }
    }
    return at + TCP_HLEN <= length ? at : 0;
}

// Says before a frame what the device has to complete of it: the checksum of a segment, in whose place
// is that of the pseudo header.
static void leave_checksum(uint8_t *header, uint8_t *frame, uint32_t length) {
    if (!completes) {
        return;
    }
    uint16_t at = tcp_at(frame, length);
    uint16_t offset = at != 0 ? offsetof(struct tcp_hdr, chksum) : 0;
    header[HEADER_FLAGS] = at != 0 ? NEEDS_CSUM : 0;
    memcpy(header + HEADER_START, &at, sizeof(at));
    memcpy(header + HEADER_OFFSET, &offset, sizeof(offset));
    if (at != 0) {
        bool ip6 = frame[12] == 0x86;
        const uint8_t *addresses = frame + SIZEOF_ETH_HDR + (ip6 ? IP6_HLEN - 32 : IP_HLEN - 8);
        uint32_t sum = lan_checksum(addresses, ip6 ? 32 : 8);
        sum += PP_HTONS(IP_PROTO_TCP) + lwip_htons(length - at);
        sum = (sum & 0xffff) + (sum >> 16);
        uint16_t partial = (sum & 0xffff) + (sum >> 16);
        memcpy(frame + at + offset, &partial, sizeof(partial));
    }
}

err_t lan_ip6_frag(struct pbuf *p, struct netif *to, const ip6_addr_t *address);

// Stands in ip6.c for ip6_frag(): a path may be narrower than the interface, and no device completes a
// checksum over several frames.
err_t lan_ip6_frag(struct pbuf *p, struct netif *to, const ip6_addr_t *address) {
    struct ip6_hdr *ip = p->payload;
    if (completes && IP6H_NEXTH(ip) == IP6_NEXTH_TCP && p->len >= IP6_HLEN + TCP_HLEN) {
        struct tcp_hdr *tcp = (struct tcp_hdr *)(ip + 1);
        ip6_addr_t source, destination;
        ip6_addr_copy_from_packed(source, ip->src);
        ip6_addr_copy_from_packed(destination, ip->dest);
        pbuf_remove_header(p, IP6_HLEN);
        tcp->chksum = 0;
        tcp->chksum = ip6_chksum_pseudo(p, IP_PROTO_TCP, p->tot_len, &source, &destination);
        pbuf_add_header(p, IP6_HLEN);
    }
    return ip6_frag(p, to, address);
}

// netif's functions

static err_t link_output(struct netif *self, struct pbuf *p) {
    (void)self;
    uint32_t header = state[STATE_HEADER];
    if (state[STATE_FREE] == 0 || header + p->tot_len > state[STATE_SLOT_SIZE]) {
        starved = true;
        return ERR_MEM;
    }
    uint32_t *free = &state[STATE_LISTS];
    uint32_t *ready = free + slot_count;
    uint32_t slot = free[--state[STATE_FREE]];
    uint8_t *to = slots + slot * state[STATE_SLOT_SIZE];
    pbuf_copy_partial(p, to + header, p->tot_len, 0);
    leave_checksum(to, to + header, p->tot_len);
    ready[state[STATE_READY]++] = (header + p->tot_len) << 16 | slot;
    if (depth == 0) {
        // Some of MicroPython's calls do not say that they enter lwIP.
        mp_sched_schedule_node(&leave_node, leave_later);
    }
    return ERR_OK;
}

static err_t set_up(struct netif *self) {
    self->name[0] = 'e';
    self->name[1] = '0';
    self->output = etharp_output;
    self->output_ip6 = ethip6_output;
    self->linkoutput = link_output;
    self->hostname = mod_network_hostname_data;
    self->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP | NETIF_FLAG_MLD6;
    return ERR_OK;
}

// lwIP's mDNS frees what it has of an interface, and leaves its timers running.
static void remove_mdns(void) {
    static const sys_timeout_handler handlers[] = {
        mdns_multicast_timeout_reset_ipv4,
        mdns_multicast_probe_timeout_reset_ipv4,
        mdns_multicast_timeout_25ttl_reset_ipv4,
        mdns_send_multicast_msg_delayed_ipv4,
        mdns_send_unicast_msg_delayed_ipv4,
        mdns_multicast_timeout_reset_ipv6,
        mdns_multicast_probe_timeout_reset_ipv6,
        mdns_multicast_timeout_25ttl_reset_ipv6,
        mdns_send_multicast_msg_delayed_ipv6,
        mdns_send_unicast_msg_delayed_ipv6,
    };
    mdns_answer_waiting();
    mdns_resp_remove_netif(&netif);
    for (size_t i = 0; i < MP_ARRAY_SIZE(handlers); i++) {
        sys_untimeout(handlers[i], &netif);
    }
}

// What netif_remove() does not free, and netif_add() forgets.
static void remove_dhcp(void) {
    dhcp_release_and_stop(&netif);
    dhcp_cleanup(&netif);
    dhcp6_disable(&netif);
    dhcp6_cleanup(&netif);
}

static void detach(void) {
    if (attached) {
        lan_enter();
        remove_mdns();
        remove_dhcp();
        lan_leave();
        netif_remove(&netif);
        attached = false;
        memset(MP_STATE_VM(lan_driver), 0, sizeof(MP_STATE_VM(lan_driver)));
    }
}

void lan_init(void) {
    soft_timer_static_init(&timer, SOFT_TIMER_MODE_ONE_SHOT, 0, timer_due);
    lwip_init();
    mdns_resp_init();
}

void lan_deinit(void) {
    if (attached) {
        // The objects are gone, the device is not: it sends on.
        mp_hal_delay_us(SEND_MS * 1000);
        attached = false;
        depth++;
        remove_mdns();
        remove_dhcp();
        netif_remove(&netif);
        depth--;
    }
    timer_armed = false;
    // Whatever was inside is over, also if it was jumped out of.
    depth = 0;
    in_driver = starved = more_follow = false;
}

// The module lan_netif: the driver's side

// attach(mac, mtu, slots, state, send, poll, completes): the interface exists, and asks for an address
// once there is a link.
static mp_obj_t netif_attach(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t mac, memory, words;
    mp_get_buffer_raise(args[0], &mac, MP_BUFFER_READ);
    mp_get_buffer_raise(args[2], &memory, MP_BUFFER_RW);
    mp_get_buffer_raise(args[3], &words, MP_BUFFER_RW);
    if (mac.len != NETIF_MAX_HWADDR_LEN) {
        mp_raise_ValueError(MP_ERROR_TEXT("mac"));
    }
    detach();
    memcpy(MP_STATE_VM(lan_driver), args + 2, sizeof(MP_STATE_VM(lan_driver)));
    slots = memory.buf;
    state = words.buf;
    slot_count = memory.len / state[STATE_SLOT_SIZE];
    lan_enter();
    netif_add(&netif, NULL, NULL, NULL, NULL, set_up, ethernet_input);
    netif.mtu = netif.mtu6 = mp_obj_get_int(args[1]);
    netif.hwaddr_len = mac.len;
    memcpy(netif.hwaddr, mac.buf, mac.len);
    attached = true;
    completes = mp_obj_is_true(args[6]);
    set_checksums(0);
    netif_set_default(&netif);
    netif_create_ip6_linklocal_address(&netif, 1);
    netif.ip6_autoconfig_enabled = 1;
    mdns_resp_add_netif(&netif, mod_network_hostname_data);
    netif_set_up(&netif);
    dhcp_start(&netif);
    lan_leave();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(netif_attach_obj, 7, 7, netif_attach);

static mp_obj_t netif_detach(void) {
    detach();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(netif_detach_obj, netif_detach);

// link(up)
static mp_obj_t netif_link(mp_obj_t up) {
    if (attached) {
        lan_enter();
        if (mp_obj_is_true(up)) {
            netif_set_link_up(&netif);
        } else {
            netif_set_link_down(&netif);
        }
        lan_leave();
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(netif_link_obj, netif_link);

// The frame that begins at a piece, copied into a buffer of lwIP's; NULL where there is none.
static struct pbuf *frame_of(const uint32_t *piece, uint32_t total) {
    struct pbuf *p = pbuf_alloc(PBUF_RAW, total, PBUF_POOL);
    if (p == NULL) {
        return NULL;
    }
    uint32_t at = 0;
    while (at < total) {
        uint32_t length = piece[1] & PIECE_LENGTH;
        pbuf_take_at(p, (const void *)piece[0], length, at);
        at += length;
        piece += 2;
    }
    return p;
}

// Which checksums of a frame need no look: who has the memory of the machine may well be believed.
// What a device has found right in a fragment says nothing of the packet.
static uint16_t unchecked(const struct pbuf *p, uint32_t marks) {
    const uint8_t *frame = p->payload;
    bool whole = marks & PARTIAL;
    if (marks & VALID && p->len >= SIZEOF_ETH_HDR + IP_HLEN) {
        const struct ip_hdr *ip = (const struct ip_hdr *)(frame + SIZEOF_ETH_HDR);
        uint8_t next = IP6H_NEXTH((const struct ip6_hdr *)ip);
        if (frame[12] == 0x08) {
            whole |= !(IPH_OFFSET(ip) & PP_HTONS(IP_OFFMASK | IP_MF));
        } else {
            whole |= next == IP6_NEXTH_TCP || next == IP6_NEXTH_UDP;
        }
    }
    return whole ? NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP : 0;
}

// A mark among lwIP's flags of a connection.
#define OUTPUT_DUE 0x8000u

err_t lan_tcp_output(struct tcp_pcb *pcb);
err_t lan_tcp_send_empty_ack(struct tcp_pcb *pcb);

// Stands in tcp_in.c for tcp_output(): nothing leaves before the batch's end anyway, and one segment
// then acknowledges all that came.
err_t lan_tcp_output(struct tcp_pcb *pcb) {
    if (more_follow && pcb->state == ESTABLISHED) {
        tcp_set_flags(pcb, OUTPUT_DUE);
        return ERR_OK;
    }
    return tcp_output(pcb);
}

// Stands there for tcp_send_empty_ack(), by which a peer learns that something is missing: it counts
// them, and the one that is due comes before.
err_t lan_tcp_send_empty_ack(struct tcp_pcb *pcb) {
    if (pcb->flags & OUTPUT_DUE && pcb->flags & TF_ACK_NOW) {
        tcp_send_empty_ack(pcb);
    }
    return tcp_send_empty_ack(pcb);
}

static void output_due(void) {
    more_follow = false;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb->flags & OUTPUT_DUE) {
            tcp_clear_flags(pcb, OUTPUT_DUE);
            tcp_output(pcb);
        }
    }
}

// input(pieces, n): frames that came in, in n pieces, each an address and a length with MORE, the
// first of a frame with VALID or PARTIAL. The driver vouches for them, and has the memory back.
static mp_obj_t netif_frames(mp_obj_t pieces_in, mp_obj_t n_in) {
    mp_buffer_info_t pieces;
    mp_get_buffer_raise(pieces_in, &pieces, MP_BUFFER_READ);
    const uint32_t *piece = pieces.buf;
    size_t n = MIN((size_t)mp_obj_get_int(n_in), pieces.len / (2 * sizeof(uint32_t)));
    const uint32_t *end = piece + 2 * n;
    lan_enter();
    while (piece < end && attached) {
        const uint32_t *first = piece;
        uint32_t total = 0;
        uint32_t length;
        do {
            length = piece[1];
            total += length & PIECE_LENGTH;
            piece += 2;
        } while (length & MORE && piece < end);
        struct pbuf *p = total <= UINT16_MAX ? frame_of(first, total) : NULL;
        if (p == NULL) {
            continue;
        }
        more_follow = piece < end;
        uint32_t marks = first[1] & (VALID | PARTIAL);
        if (marks != 0) {
            set_checksums(unchecked(p, marks));
        }
        if (netif.input(p, &netif) != ERR_OK) {
            pbuf_free(p);
        }
        if (marks != 0) {
            set_checksums(0);
        }
    }
    output_due();
    lan_leave();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(netif_input_obj, netif_frames);

static const mp_rom_map_elem_t netif_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_lan_netif) },
    { MP_ROM_QSTR(MP_QSTR_attach), MP_ROM_PTR(&netif_attach_obj) },
    { MP_ROM_QSTR(MP_QSTR_detach), MP_ROM_PTR(&netif_detach_obj) },
    { MP_ROM_QSTR(MP_QSTR_link), MP_ROM_PTR(&netif_link_obj) },
    { MP_ROM_QSTR(MP_QSTR_input), MP_ROM_PTR(&netif_input_obj) },
};
static MP_DEFINE_CONST_DICT(netif_globals, netif_globals_table);

const mp_obj_module_t lan_netif_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&netif_globals,
};

MP_REGISTER_MODULE(MP_QSTR_lan_netif, lan_netif_module);

// network.LAN: the user's side

static const mp_obj_base_t lan_obj = { &lan_type };

static mp_obj_t call_lan_module(qstr function) {
    mp_obj_t from = mp_const_none;
    mp_obj_t name = MP_OBJ_NEW_QSTR(function);
    from = mp_obj_new_tuple(1, &name);
    mp_obj_t module = mp_import_name(MP_QSTR_virtio_dot_drivers_dot_lan, from, MP_OBJ_NEW_SMALL_INT(0));
    return mp_call_function_0(mp_load_attr(module, function));
}

// 0 without a link, 1 with one, 2 while it has no address yet, 3 with one: as other boards have it.
static int lan_state(void) {
    if (!attached || !netif_is_link_up(&netif)) {
        return 0;
    }
    if (!netif_is_up(&netif)) {
        return 1;
    }
    return ip4_addr_isany_val(*netif_ip4_addr(&netif)) ? 2 : 3;
}

static void must_be_active(void) {
    if (!attached) {
        mp_raise_OSError(MP_ENODEV);
    }
}

// LAN(id=0)
static mp_obj_t lan_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    (void)type;
    mp_arg_check_num(n_args, n_kw, 0, 1, false);
    if (n_args == 1 && mp_obj_get_int(args[0]) != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("there is one LAN interface, 0"));
    }
    return MP_OBJ_FROM_PTR(&lan_obj);
}

static void lan_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)self_in;
    (void)kind;
    char address[IP4ADDR_STRLEN_MAX] = "0.0.0.0";
    if (attached) {
        ip4addr_ntoa_r(netif_ip4_addr(&netif), address, sizeof(address));
    }
    mp_printf(print, "<LAN status=%d ip=%s>", lan_state(), address);
}

// active([up])
static mp_obj_t lan_active(size_t n_args, const mp_obj_t *args) {
    if (n_args == 1) {
        return mp_obj_new_bool(attached);
    }
    call_lan_module(mp_obj_is_true(args[1]) ? MP_QSTR_start : MP_QSTR_stop);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_active_obj, 1, 2, lan_active);

static mp_obj_t lan_isconnected(mp_obj_t self_in) {
    (void)self_in;
    return mp_obj_new_bool(lan_state() == 3);
}
static MP_DEFINE_CONST_FUN_OBJ_1(lan_isconnected_obj, lan_isconnected);

static mp_obj_t lan_status(size_t n_args, const mp_obj_t *args) {
    (void)args;
    if (n_args != 1) {
        mp_raise_ValueError(MP_ERROR_TEXT("unknown status param"));
    }
    return MP_OBJ_NEW_SMALL_INT(lan_state());
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_status_obj, 1, 2, lan_status);

static mp_obj_t lan_ifconfig(size_t n_args, const mp_obj_t *args) {
    must_be_active();
    // Not entered meanwhile: it waits inside, for DHCP.
    mp_obj_t result = mod_network_nic_ifconfig(&netif, n_args - 1, args + 1);
    lan_enter();
    lan_leave();
    return result;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_ifconfig_obj, 1, 2, lan_ifconfig);

static mp_obj_t lan_ipconfig(size_t n_args, const mp_obj_t *args, mp_map_t *kwargs) {
    must_be_active();
    mp_obj_t result = mod_network_nic_ipconfig(&netif, n_args - 1, args + 1, kwargs);
    lan_enter();
    lan_leave();
    return result;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(lan_ipconfig_obj, 1, lan_ipconfig);

// config("mac"), config("hostname"), config(hostname=…)
static mp_obj_t lan_config(size_t n_args, const mp_obj_t *args, mp_map_t *kwargs) {
    if (kwargs->used != 0) {
        if (n_args != 1) {
            mp_raise_TypeError(MP_ERROR_TEXT("can't specify pos and kw args"));
        }
        for (size_t i = 0; i < kwargs->alloc; i++) {
            if (mp_map_slot_is_filled(kwargs, i)) {
                if (kwargs->table[i].key != MP_OBJ_NEW_QSTR(MP_QSTR_hostname)) {
                    mp_raise_ValueError(MP_ERROR_TEXT("unknown config param"));
                }
                mod_network_hostname(1, &kwargs->table[i].value);
            }
        }
        return mp_const_none;
    }
    if (n_args != 2) {
        mp_raise_TypeError(MP_ERROR_TEXT("must query one param"));
    }
    switch (mp_obj_str_get_qstr(args[1])) {
        case MP_QSTR_mac:
            must_be_active();
            return mp_obj_new_bytes(netif.hwaddr, netif.hwaddr_len);
        case MP_QSTR_hostname:
            return mod_network_hostname(0, NULL);
        default:
            mp_raise_ValueError(MP_ERROR_TEXT("unknown config param"));
    }
}
static MP_DEFINE_CONST_FUN_OBJ_KW(lan_config_obj, 1, lan_config);

static const mp_rom_map_elem_t lan_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_active), MP_ROM_PTR(&lan_active_obj) },
    { MP_ROM_QSTR(MP_QSTR_isconnected), MP_ROM_PTR(&lan_isconnected_obj) },
    { MP_ROM_QSTR(MP_QSTR_status), MP_ROM_PTR(&lan_status_obj) },
    { MP_ROM_QSTR(MP_QSTR_ifconfig), MP_ROM_PTR(&lan_ifconfig_obj) },
    { MP_ROM_QSTR(MP_QSTR_ipconfig), MP_ROM_PTR(&lan_ipconfig_obj) },
    { MP_ROM_QSTR(MP_QSTR_config), MP_ROM_PTR(&lan_config_obj) },
};
static MP_DEFINE_CONST_DICT(lan_locals, lan_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    lan_type,
    MP_QSTR_LAN,
    MP_TYPE_FLAG_NONE,
    make_new, lan_make_new,
    print, lan_print,
    locals_dict, &lan_locals
    );
