// SPDX-License-Identifier: MIT
// The module shared_file: an open file whose bytes a driver in Python reads and writes by offset,
// with a buffer, all that MicroPython's streams can do, and a finaliser.
//
// In C for the finaliser, which a class of Python's cannot have: a file that the program has dropped
// is written out and closed. The driver is called under a guard: it is not left in the middle, and
// knows the program's buffers by their address for no longer than the call.

#include <string.h>

#include "py/gc.h"
#include "py/mperrno.h"
#include "py/objarray.h"
#include "py/objstr.h"
#include "py/runtime.h"
#include "py/stream.h"

#include "guard.h"
#include "vfs_blockdev.h"

#define BUFFER_SIZE (16 * 1024)
#define SMALL_BUFFER 512 // where the heap has all that there is, as on a small board
#define READER_SIZE 255 // the largest buffer that the importer takes

enum { MODE_READ = 1, MODE_WRITE = 2, MODE_APPEND = 4, MODE_TEXT = 8 };

// What the driver knows the file by: words of its own, then an offset, the lower half first.
enum { WORD_OFFSET = 2, WORD_COUNT = 4 };

typedef struct {
    mp_obj_base_t base;
    mp_obj_t driver; // MP_OBJ_NULL once it is closed
    mp_obj_t words_obj;
    mp_obj_t window; // a bytearray, of what is to be transferred
    uint8_t *buffer; // NULL until it is needed
    uint64_t at; // of the next byte, in the file
    uint64_t start; // of what the buffer holds
    uint32_t fill;
    uint16_t room; // of the buffer
    uint8_t mode;
    bool dirty; // what the buffer holds is yet to be written
} shared_file_t;

static uint32_t *words_of(const shared_file_t *self) {
    return ((mp_obj_array_t *)MP_OBJ_TO_PTR(self->words_obj))->items;
}

static void set_window(const shared_file_t *self, void *data, size_t length) {
    mp_obj_array_t *window = MP_OBJ_TO_PTR(self->window);
    window->items = data;
    window->len = length;
}

// Calls a method of the driver; what it returns, or MP_STREAM_ERROR.
static mp_uint_t call(const shared_file_t *self, qstr name, size_t n_args, int *errcode) {
    guard_t guard;
    guard_enter(&guard);
    mp_uint_t result = MP_STREAM_ERROR;
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_obj_t args[4] = { NULL, NULL, self->words_obj, self->window };
        mp_load_method(self->driver, name, args);
        result = mp_obj_get_int(mp_call_method_n_kw(n_args, 0, args));
        nlr_pop();
    } else {
        *errcode = vfs_blockdev_errno(MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    guard_leave(&guard);
    return result;
}

static mp_uint_t transfer(const shared_file_t *self, qstr name, uint64_t offset, void *data, size_t length, int *errcode) {
    uint32_t *words = words_of(self);
    words[WORD_OFFSET] = offset;
    words[WORD_OFFSET + 1] = offset >> 32;
    set_window(self, data, length);
    mp_uint_t count = call(self, name, 2, errcode);
    set_window(self, NULL, 0);
    if (count != MP_STREAM_ERROR && count > length) {
        *errcode = MP_EIO;
        return MP_STREAM_ERROR;
    }
    return count;
}

// The file's size as it is now; false where that is not known.
static bool find_size(const shared_file_t *self, uint64_t *size, int *errcode) {
    if (call(self, MP_QSTR_file_size, 1, errcode) == MP_STREAM_ERROR) {
        return false;
    }
    const uint32_t *words = words_of(self);
    *size = words[WORD_OFFSET] | (uint64_t)words[WORD_OFFSET + 1] << 32;
    return true;
}

// What could not be written stays in the buffer.
static bool flush(shared_file_t *self, int *errcode) {
    while (self->dirty && self->fill != 0) {
        mp_uint_t count = transfer(self, MP_QSTR_file_write, self->start, self->buffer, self->fill, errcode);
        if (count == MP_STREAM_ERROR) {
            return false;
        }
        memmove(self->buffer, self->buffer + count, self->fill - count);
        self->start += count;
        self->fill -= count;
    }
    self->dirty = false;
    return true;
}

// Errors are stored only where one is returned: MicroPython goes by the number as well.
static bool prepare_buffer(shared_file_t *self, int *errcode) {
    if (self->buffer == NULL) {
        self->buffer = m_new_maybe(uint8_t, self->room);
    }
    if (self->buffer == NULL) {
        *errcode = MP_ENOMEM;
    }
    return self->buffer != NULL;
}

static bool is_usable(const shared_file_t *self, uint8_t mode, int *errcode) {
    bool usable = self->driver != MP_OBJ_NULL && self->mode & mode;
    if (!usable) {
        *errcode = self->driver == MP_OBJ_NULL ? MP_EINVAL : MP_EBADF;
    }
    return usable;
}

// What can be read without more of what the buffer holds; 0 at the end of the file.
static mp_uint_t read_some(shared_file_t *self, uint8_t *data, mp_uint_t size, int *errcode) {
    if (self->at < self->start || self->at >= self->start + self->fill) {
        if (size >= self->room) {
            return transfer(self, MP_QSTR_file_read, self->at, data, size, errcode);
        }
        if (!prepare_buffer(self, errcode)) {
            return MP_STREAM_ERROR;
        }
        self->fill = 0;
        mp_uint_t count = transfer(self, MP_QSTR_file_read, self->at, self->buffer, self->room, errcode);
        if (count == MP_STREAM_ERROR) {
            return count;
        }
        self->start = self->at;
        self->fill = count;
    }
    size_t ahead = self->at - self->start;
    size = MIN(size, self->fill - ahead);
    memcpy(data, self->buffer + ahead, size);
    return size;
}

// All of it, up to the end of the file: to the importer less than it asked for is the end.
static mp_uint_t shared_file_read(mp_obj_t self_in, void *data, mp_uint_t size, int *errcode) {
    shared_file_t *self = MP_OBJ_TO_PTR(self_in);
    if (!is_usable(self, MODE_READ, errcode) || !flush(self, errcode)) {
        return MP_STREAM_ERROR;
    }
    mp_uint_t done = 0;
    while (done < size) {
        mp_uint_t count = read_some(self, (uint8_t *)data + done, size - done, errcode);
        if (count == MP_STREAM_ERROR) {
            if (done == 0) {
                return count;
            }
            *errcode = 0; // the next call meets it again
            break;
        }
        if (count == 0) {
            break;
        }
        self->at += count;
        done += count;
    }
    return done;
}

// Has the buffer hold bytes to be written, that end where the next ones go.
static bool prepare_to_write(shared_file_t *self, mp_uint_t size, int *errcode) {
    if (self->dirty && (self->at != self->start + self->fill || self->fill + size > self->room)) {
        if (!flush(self, errcode)) {
            return false;
        }
    }
    if (self->dirty) {
        return true;
    }
    if (self->mode & MODE_APPEND && !find_size(self, &self->at, errcode)) {
        return false;
    }
    self->fill = 0;
    self->start = self->at;
    return true;
}

static mp_uint_t shared_file_write(mp_obj_t self_in, const void *data, mp_uint_t size, int *errcode) {
    shared_file_t *self = MP_OBJ_TO_PTR(self_in);
    if (!is_usable(self, MODE_WRITE, errcode) || !prepare_to_write(self, size, errcode)) {
        return MP_STREAM_ERROR;
    }
    if (size >= self->room) {
        size = transfer(self, MP_QSTR_file_write, self->at, (void *)data, size, errcode);
        if (size == MP_STREAM_ERROR) {
            return size;
        }
    } else {
        if (!prepare_buffer(self, errcode)) {
            return MP_STREAM_ERROR;
        }
        memcpy(self->buffer + self->fill, data, size);
        self->fill += size;
        self->dirty = true;
    }
    self->at += size;
    return size;
}

static mp_uint_t seek(shared_file_t *self, struct mp_stream_seek_t *seek, int *errcode) {
    if (!flush(self, errcode)) {
        return MP_STREAM_ERROR;
    }
    uint64_t from = 0;
    if (seek->whence == MP_SEEK_CUR) {
        from = self->at;
    } else if (seek->whence == MP_SEEK_END && !find_size(self, &from, errcode)) {
        return MP_STREAM_ERROR;
    }
    int64_t to = (int64_t)from + seek->offset;
    if (to < 0) {
        *errcode = MP_EINVAL;
        return MP_STREAM_ERROR;
    }
    if (seek->whence != MP_SEEK_CUR || seek->offset != 0) {
        self->fill = 0; // whoever goes somewhere else wants to see what is there now
    }
    self->at = to;
    seek->offset = to;
    return 0;
}

static mp_uint_t close_file(shared_file_t *self, int *errcode) {
    if (self->driver == MP_OBJ_NULL) {
        return 0;
    }
    bool written = flush(self, errcode);
    int ignored;
    mp_uint_t result = call(self, MP_QSTR_file_close, 1, written ? errcode : &ignored);
    self->driver = MP_OBJ_NULL;
    return written ? result : MP_STREAM_ERROR;
}

static mp_uint_t shared_file_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t arg, int *errcode) {
    shared_file_t *self = MP_OBJ_TO_PTR(self_in);
    if (request == MP_STREAM_CLOSE) {
        return close_file(self, errcode);
    }
    if (self->driver == MP_OBJ_NULL) {
        *errcode = MP_EINVAL;
        return MP_STREAM_ERROR;
    }
    switch (request) {
        case MP_STREAM_SEEK:
            return seek(self, (struct mp_stream_seek_t *)arg, errcode);
        case MP_STREAM_FLUSH:
            return flush(self, errcode) ? 0 : MP_STREAM_ERROR;
        case MP_STREAM_POLL:
            return arg & (MP_STREAM_POLL_RD | MP_STREAM_POLL_WR);
        case MP_STREAM_GET_BUFFER_SIZE:
            return READER_SIZE;
        default:
            *errcode = MP_EINVAL;
            return MP_STREAM_ERROR;
    }
}

// handle(): the words, with the offset of the next byte. The buffer is empty from then on.
static mp_obj_t shared_file_handle(mp_obj_t self_in) {
    shared_file_t *self = MP_OBJ_TO_PTR(self_in);
    int errcode = MP_EINVAL;
    if (self->driver == MP_OBJ_NULL || !flush(self, &errcode)) {
        mp_raise_OSError(errcode);
    }
    if (self->mode & MODE_APPEND && !find_size(self, &self->at, &errcode)) {
        mp_raise_OSError(errcode);
    }
    self->fill = 0;
    uint32_t *words = words_of(self);
    words[WORD_OFFSET] = self->at;
    words[WORD_OFFSET + 1] = self->at >> 32;
    return self->words_obj;
}
static MP_DEFINE_CONST_FUN_OBJ_1(shared_file_handle_obj, shared_file_handle);

static void shared_file_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    mp_printf(print, "<io.%s %p>", mp_obj_get_type_str(self_in), MP_OBJ_TO_PTR(self_in));
}

static const mp_rom_map_elem_t file_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_readline), MP_ROM_PTR(&mp_stream_unbuffered_readline_obj) },
    { MP_ROM_QSTR(MP_QSTR_readlines), MP_ROM_PTR(&mp_stream_unbuffered_readlines_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
    { MP_ROM_QSTR(MP_QSTR_flush), MP_ROM_PTR(&mp_stream_flush_obj) },
    { MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&mp_stream_close_obj) },
    { MP_ROM_QSTR(MP_QSTR_seek), MP_ROM_PTR(&mp_stream_seek_obj) },
    { MP_ROM_QSTR(MP_QSTR_tell), MP_ROM_PTR(&mp_stream_tell_obj) },
    { MP_ROM_QSTR(MP_QSTR_handle), MP_ROM_PTR(&shared_file_handle_obj) },
    { MP_ROM_QSTR(MP_QSTR___del__), MP_ROM_PTR(&mp_stream_close_obj) },
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&mp_stream___exit___obj) },
};
static MP_DEFINE_CONST_DICT(file_locals, file_locals_table);

static const mp_stream_p_t binary_protocol = {
    .read = shared_file_read,
    .write = shared_file_write,
    .ioctl = shared_file_ioctl,
};

static MP_DEFINE_CONST_OBJ_TYPE(
    binary_type,
    MP_QSTR_FileIO,
    MP_TYPE_FLAG_ITER_IS_STREAM,
    print, shared_file_print,
    protocol, &binary_protocol,
    locals_dict, &file_locals
    );

static const mp_stream_p_t text_protocol = {
    .read = shared_file_read,
    .write = shared_file_write,
    .ioctl = shared_file_ioctl,
    .is_text = true,
};

static MP_DEFINE_CONST_OBJ_TYPE(
    text_type,
    MP_QSTR_TextIOWrapper,
    MP_TYPE_FLAG_ITER_IS_STREAM,
    print, shared_file_print,
    protocol, &text_protocol,
    locals_dict, &file_locals
    );

// open(driver, words, mode): the file that the driver knows by these words, an array of four. It calls
//
//   file_read(words, buf) and file_write(words, buf), at the offset in the words: -> bytes
//   file_size(words), which leaves the size where the offset is
//   file_close(words)
static mp_obj_t shared_file_open(mp_obj_t driver, mp_obj_t words, mp_obj_t mode_in) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(words, &info, MP_BUFFER_RW);
    if (!mp_obj_is_type(words, &mp_type_array) || info.len != WORD_COUNT * sizeof(uint32_t)) {
        mp_raise_ValueError(MP_ERROR_TEXT("words"));
    }
    mp_int_t mode = mp_obj_get_int(mode_in);
    mp_obj_t window = mp_obj_new_bytearray_by_ref(0, NULL);
    const mp_obj_type_t *type = mode & MODE_TEXT ? &text_type : &binary_type;
    shared_file_t *self = mp_obj_malloc_with_finaliser(shared_file_t, type);
    memset((char *)self + sizeof(self->base), 0, sizeof(*self) - sizeof(self->base));
    self->driver = driver;
    self->words_obj = words;
    self->window = window;
    self->mode = mode;
    self->room = gc_get_max_new_split() < BUFFER_SIZE ? SMALL_BUFFER : BUFFER_SIZE;
    return MP_OBJ_FROM_PTR(self);
}
static MP_DEFINE_CONST_FUN_OBJ_3(shared_file_open_obj, shared_file_open);

static const mp_rom_map_elem_t shared_file_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_shared_file) },
    { MP_ROM_QSTR(MP_QSTR_open), MP_ROM_PTR(&shared_file_open_obj) },
};
static MP_DEFINE_CONST_DICT(shared_file_globals, shared_file_globals_table);

const mp_obj_module_t shared_file_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&shared_file_globals,
};

MP_REGISTER_MODULE(MP_QSTR_shared_file, shared_file_module);
