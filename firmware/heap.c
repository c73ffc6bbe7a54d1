// SPDX-License-Identifier: MIT
// First fit over a list of free pieces, ordered by address and merged when
// neighbours become free. There are never more than a dozen or two.

#include <stdint.h>

#include "heap.h"

#define ALIGNMENT 4096u

// At the start of each piece, free or not. An allocation begins one header
// further on, which keeps the alignment that the collector needs.
typedef struct piece {
    size_t size;
    struct piece *next; // while free
} __attribute__((aligned(64))) piece_t;

static piece_t *free_list;

void heap_init(void *start, void *end) {
    free_list = start;
    free_list->size = ((uintptr_t)end - (uintptr_t)start) & ~(ALIGNMENT - 1);
    free_list->next = NULL;
}

void *heap_alloc(size_t size) {
    size_t needed = (size + sizeof(piece_t) + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    for (piece_t **link = &free_list; *link != NULL; link = &(*link)->next) {
        piece_t *piece = *link;
        if (piece->size < needed) {
            continue;
        }
        if (piece->size > needed) {
            piece_t *rest = (piece_t *)((uintptr_t)piece + needed);
            rest->size = piece->size - needed;
            rest->next = piece->next;
            *link = rest;
        } else {
            *link = piece->next;
        }
        piece->size = needed;
        return piece + 1;
    }
    return NULL;
}

static void merge_with_next(piece_t *piece) {
    piece_t *next = piece->next;
    if (next != NULL && (uintptr_t)piece + piece->size == (uintptr_t)next) {
        piece->size += next->size;
        piece->next = next->next;
    }
}

void heap_free(void *data) {
    piece_t *piece = (piece_t *)data - 1;
    piece_t *before = NULL;
    piece_t *after = free_list;
    while (after != NULL && after < piece) {
        before = after;
        after = after->next;
    }
    piece->next = after;
    merge_with_next(piece);
    if (before == NULL) {
        free_list = piece;
    } else {
        before->next = piece;
        merge_with_next(before);
    }
}

size_t heap_largest(void) {
    size_t largest = sizeof(piece_t);
    for (const piece_t *piece = free_list; piece != NULL; piece = piece->next) {
        if (piece->size > largest) {
            largest = piece->size;
        }
    }
    return largest - sizeof(piece_t);
}
