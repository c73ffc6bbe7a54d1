// SPDX-License-Identifier: MIT
// lwIP's configuration: MicroPython's own choice of protocols, and room for a machine that counts
// its memory in MiB. All of it is static, so a program cannot run out of it by its heap.
#pragma once

#define MEM_SIZE (512 * 1024)

#include "extmod/lwip-include/lwipopts_common.h"

#define LWIP_IPV6 1
#define LWIP_IPV6_DHCP6 1
#define LWIP_IPV6_NUM_ADDRESSES 4

// The window of a connection costs RAM, since each has its own (PBUF_POOL_SIZE): 24 segments are as
// fast on QEMU's user network as the 44 that 16 bits can say.
#define TCP_MSS 1460
#define TCP_WND_SEGMENTS 24
#define TCP_WND (TCP_WND_SEGMENTS * TCP_MSS)
#define TCP_SND_BUF (32 * TCP_MSS)
// How much of a window a program reads before its peer is told of it by a segment of its own.
#define TCP_WND_UPDATE_THRESHOLD (TCP_WND / 2)
#define TCP_OVERSIZE TCP_MSS
#define MEMP_NUM_TCP_SEG 1024
#define MEMP_NUM_TCP_PCB 64
#define MEMP_NUM_TCP_PCB_LISTEN 16
#undef MEMP_NUM_UDP_PCB
#define MEMP_NUM_UDP_PCB (32 + LWIP_MDNS_RESPONDER)
#define MEMP_NUM_RAW_PCB 8

// A look-up that Ctrl-C ended takes its place until lwIP gives up, but no socket of a program's.
#define DNS_TABLE_SIZE 64
#define DNS_MAX_SOURCE_PORTS 1

// A frame is one buffer. Those that wait for a program to read them, a window of each connection,
// leave room for those that the driver hands over: without, nothing else would come in any more.
#define PBUF_POOL_SIZE (MEMP_NUM_TCP_PCB * TCP_WND_SEGMENTS + 40)
#define PBUF_POOL_BUFSIZE 1536

// Sequence numbers that nobody can guess.
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port) lan_random()

// A neighbour's first packets wait for its address.
#define ARP_QUEUEING 1
#define LWIP_ND6_QUEUEING 1

// So that lan.c sees whose timer is the next one.
#define LWIP_TESTMODE 1
