"""The static DMA region."""

import pytest
import uctypes
from check import raises
from virtio import DmaError, InvalidParam
from virtio.platform import board, buffers, dma

pytestmark = pytest.mark.board(interface=("modern",))


def test_a_piece_is_aligned_zeroed_and_in_the_region():
    region = board.dma()
    base = uctypes.addressof(region)
    for align in (1, 16, 64, 4096):
        piece = dma.alloc(100, align)
        address = uctypes.addressof(piece)
        assert address % align == 0
        assert base <= address and address + 100 <= base + len(region)
        assert len(piece) == 100 and bytes(piece) == bytes(100)
        piece[:] = b"\xff" * 100
        dma.free(piece)


def test_pieces_do_not_overlap():
    pieces = [dma.alloc(n, 16) for n in (1, 15, 16, 17, 4096)]
    spans = sorted((uctypes.addressof(p), uctypes.addressof(p) + len(p)) for p in pieces)
    for (_, end), (start, _) in zip(spans, spans[1:]):
        assert end <= start
    for piece in pieces:
        dma.free(piece)


def test_what_is_freed_can_be_had_again_in_one_piece():
    before = dma.available()
    pieces = [dma.alloc(1000) for _ in range(20)]
    for i in (7, 3, 0, 19, 11, 5, 1, 2, 18, 17, 4, 6, 8, 9, 10, 12, 16, 15, 13, 14):
        dma.free(pieces[i])
    assert dma.available() == before
    dma.free(dma.alloc(20 * 1000))


def test_the_smallest_piece_that_will_do_is_taken():
    pieces = [dma.alloc(n) for n in (20000, 100, 3000, 100)]
    small = uctypes.addressof(pieces[2])
    dma.free(pieces[0])
    dma.free(pieces[2])
    piece = dma.alloc(2900)
    assert uctypes.addressof(piece) == small
    for piece in (piece, pieces[1], pieces[3]):
        dma.free(piece)


def test_an_exhausted_region_is_a_DmaError_and_loses_nothing():
    before = dma.available()
    raises(DmaError, dma.alloc, len(board.dma()) + 1, errno=12)
    pieces = []
    try:
        while True:
            pieces.append(dma.alloc(64 * 1024))
    except DmaError:
        pass
    for piece in pieces:
        dma.free(piece)
    assert dma.available() == before


def test_a_piece_is_freed_once_and_only_if_it_is_of_the_region():
    piece = dma.alloc(64)
    dma.free(piece)
    raises(InvalidParam, dma.free, piece)
    raises(InvalidParam, dma.free, memoryview(bytearray(16)))


def test_bad_sizes_and_alignments_are_refused():
    raises(InvalidParam, dma.alloc, 0)
    raises(InvalidParam, dma.alloc, -1)
    raises(InvalidParam, dma.alloc, 16, 3)
    raises(InvalidParam, dma.alloc, 16, 0)


def test_the_length_of_a_buffer_is_in_bytes():
    from array import array

    assert buffers.byte_length(bytearray(5)) == 5
    assert buffers.byte_length(b"abc") == 3
    assert buffers.byte_length(memoryview(bytearray(9))[2:]) == 7
    assert buffers.byte_length(array("I", [1, 2, 3])) == 12
    assert buffers.byte_length(memoryview(array("H", [1, 2, 3]))[1:]) == 4
    assert buffers.byte_length("é") == 2
    for no_buffer in (7, None, [1], 1.5):
        raises(TypeError, buffers.byte_length, no_buffer)


def test_to_free_allocates_nothing_and_to_fail_takes_nothing():
    import micropython

    pieces = [dma.alloc(100) for _ in range(30)]
    before = dma.available()
    micropython.heap_lock()
    try:
        try:
            pieces.append(dma.alloc(100))
        except MemoryError:
            pass
        for piece in pieces:
            dma.free(piece)
    finally:
        micropython.heap_unlock()
    assert dma.available() >= before + 30 * 100
