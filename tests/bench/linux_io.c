// SPDX-License-Identifier: MIT
// Requests from within the Linux guest: io PATH read|write|fill SIZE DEPTH, or
// io PATH get|put SIZE COUNT, or io PATH exec ARGUMENTS, or
// io PORT take|send|bounce SIZE COUNT.
//
// busybox's dd reads blocks below a page through the page cache, has one
// request at a time and pays two system calls for each. This asks the kernel
// directly, as a program that cares for speed would: pread and pwrite on
// O_DIRECT for one request at a time, io_submit and io_getevents for more;
// "fill" is read until the buffer is full, for entropy. "get" and "put" read
// and write a file in so many calls, as bench_on_board.py does. "exec" runs
// another program, for the shell tells its time in hundredths of a second.
// "take", "send" and "bounce" receive, send, and send and wait for as much, by
// TCP, from and to the host's port. It
// prints, in hexadecimal, the nanoseconds that it took and the requests that
// it made.
//
// Freestanding, because the compiler for the board has no C library for Linux.

#include <stdint.h>

#define AT_LEAST 50000000u // ns that a measurement lasts
#define DEPTH_MAX 128

enum { EXIT = 1, FORK = 2, READ = 3, WRITE = 4, CLOSE = 6, EXECVE = 11, WAIT4 = 114, FSYNC = 118,
    PREAD64 = 180, PWRITE64 = 181, MMAP2 = 192, IO_SETUP = 243, IO_GETEVENTS = 245, IO_SUBMIT = 246,
    SOCKET = 281, CONNECT = 283, OPENAT = 322, CLOCK_GETTIME64 = 403 };

#define EIO 5
#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0x40
#define O_TRUNC 0x200
#define O_DIRECT 0x10000
#define AT_FDCWD -100
#define CLOCK_MONOTONIC 1

struct iocb {
    uint64_t data;
    uint32_t key, rw_flags;
    uint16_t opcode, priority;
    uint32_t fd;
    uint64_t buf, length, offset, reserved;
    uint32_t flags, event_fd;
};

struct io_event {
    uint64_t data, iocb;
    int64_t result, result2;
};

static struct iocb iocbs[DEPTH_MAX];
static struct iocb *pointers[DEPTH_MAX];
static struct io_event events[DEPTH_MAX];

static long call(long number, long a, long b, long c, long d, long e, long f) {
    register long r7 __asm("r7") = number;
    register long r0 __asm("r0") = a;
    register long r1 __asm("r1") = b;
    register long r2 __asm("r2") = c;
    register long r3 __asm("r3") = d;
    register long r4 __asm("r4") = e;
    register long r5 __asm("r5") = f;
    __asm volatile ("svc 0" : "+r" (r0)
        : "r" (r1), "r" (r2), "r" (r3), "r" (r4), "r" (r5), "r" (r7) : "memory");
    return r0;
}

static void print(const char *text, unsigned length) {
    call(WRITE, 1, (long)text, length, 0, 0, 0);
}

static void print_hex(uint64_t number) {
    char text[17];
    for (int i = 0; i < 16; i++) {
        text[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
    }
    text[16] = ' ';
    print(text, 17);
}

// Returns what is not an error, or ends.
static long checked(long result) {
    if (result < 0) {
        print("error ", 6);
        print_hex(-result);
        call(EXIT, 1, 0, 0, 0, 0, 0);
    }
    return result;
}

static uint64_t now(void) {
    int64_t time[2];
    call(CLOCK_GETTIME64, CLOCK_MONOTONIC, (long)time, 0, 0, 0, 0);
    return time[0] * 1000000000ull + time[1];
}

static unsigned number(const char *text) {
    unsigned value = 0;
    while (*text) {
        value = 10 * value + *text++ - '0';
    }
    return value;
}

static void all(long number, long fd, long buf, unsigned size) {
    for (unsigned done = 0; done < size;) {
        long count = call(number, fd, buf + done, size - done, 0, 0, 0);
        done += checked(count ? count : -EIO);
    }
}

static void finish(uint64_t took, uint64_t count) {
    print_hex(took);
    print_hex(count);
    call(EXIT, 0, 0, 0, 0, 0, 0);
}

static long new_buffer(unsigned size) {
    // Readable and writable, private, anonymous, its pages there from the start.
    return call(MMAP2, 0, size < 4096 ? 4096 : size, 3, 0x8022, -1, 0);
}

// What opening and closing the file take is part of it, and that it is on the disk.
static void file(const char *path, char action, unsigned size, unsigned count) {
    long buf = new_buffer(size);
    int flags = action == 'p' ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;
    uint64_t start = now();
    long fd = checked(call(OPENAT, AT_FDCWD, (long)path, flags, 0644, 0, 0));
    for (unsigned i = 0; i < count; i++) {
        all(action == 'p' ? WRITE : READ, fd, buf, size);
    }
    if (action == 'p') {
        checked(call(FSYNC, fd, 0, 0, 0, 0, 0));
    }
    checked(call(CLOSE, fd, 0, 0, 0, 0, 0));
    finish(now() - start, count);
}

static void tcp(unsigned port, char action, unsigned size, unsigned count) {
    struct {
        uint16_t family, port;
        uint8_t address[4], zero[8];
    } peer = { 2, __builtin_bswap16(port), { 10, 0, 2, 2 }, { 0 } };
    long buf = new_buffer(size);
    long fd = checked(call(SOCKET, 2, 1, 0, 0, 0, 0));
    checked(call(CONNECT, fd, (long)&peer, sizeof(peer), 0, 0, 0));
    uint64_t start = now();
    for (unsigned i = 0; i < count; i++) {
        if (action != 't') {
            all(WRITE, fd, buf, size);
        }
        if (action != 's') {
            all(READ, fd, buf, size);
        }
    }
    if (action == 's') {
        all(READ, fd, buf, 1); // the peer has all of it
    }
    finish(now() - start, count);
}

static void program(const char *path, char **argv) {
    int status = 0;
    uint64_t start = now();
    long child = checked(call(FORK, 0, 0, 0, 0, 0, 0));
    if (child == 0) {
        call(EXECVE, (long)path, (long)argv, 0, 0, 0, 0);
        call(EXIT, 127, 0, 0, 0, 0, 0);
    }
    checked(call(WAIT4, child, (long)&status, 0, 0, 0, 0));
    checked(-status);
    finish(now() - start, 1);
}

static void run(long fd, char action, long buf, unsigned size, unsigned depth, unsigned long context) {
    if (action == 'f') {
        all(READ, fd, buf, size);
    } else if (depth == 1) {
        // The offset's 64 bits are in r4 and r5, an even register and the next.
        checked(call(action == 'w' ? PWRITE64 : PREAD64, fd, buf, size, 0, 0, 0));
    } else {
        for (unsigned done = 0; done < depth;) {
            done += checked(call(IO_SUBMIT, context, depth - done, (long)(pointers + done), 0, 0, 0));
        }
        checked(call(IO_GETEVENTS, context, depth, depth, (long)events, 0, 0));
    }
}

static void requests(const char *path, char action, unsigned size, unsigned depth) {
    int flags = action == 'f' ? O_RDONLY : O_RDWR | O_DIRECT;
    long fd = checked(call(OPENAT, AT_FDCWD, (long)path, flags, 0, 0, 0));
    long buf = new_buffer(size);
    unsigned long context = 0;
    if (depth > 1) {
        checked(call(IO_SETUP, DEPTH_MAX, (long)&context, 0, 0, 0, 0));
    }
    // Blocks that follow each other, all of them with the one buffer.
    for (unsigned i = 0; i < depth; i++) {
        iocbs[i].opcode = action == 'w';
        iocbs[i].fd = fd;
        iocbs[i].buf = (unsigned long)buf;
        iocbs[i].length = size;
        iocbs[i].offset = (uint64_t)i * size;
        pointers[i] = &iocbs[i];
    }
    run(fd, action, buf, size, depth, context);
    unsigned count = 1;
    uint64_t took;
    for (;; count *= 2) {
        uint64_t start = now();
        for (unsigned i = 0; i < count; i++) {
            run(fd, action, buf, size, depth, context);
        }
        took = now() - start;
        if (took >= AT_LEAST) {
            break;
        }
    }
    finish(took, (uint64_t)count * depth);
}

__attribute__((used)) static void start(char **argv) {
    char *path = argv[1], action = argv[2][0];
    if (action == 'e') {
        argv[2] = path; // a program's own name is its first argument
        program(path, argv + 2);
    }
    unsigned size = number(argv[3]), count = number(argv[4]);
    if (action == 't' || action == 's' || action == 'b') {
        tcp(number(path), action, size, count);
    }
    if (action == 'g' || action == 'p') {
        file(path, action, size, count);
    }
    requests(path, action, size, count);
}

// Linux enters with argc and then argv on the stack.
__attribute__((naked, used)) void _start(void) {
    __asm volatile ("add r0, sp, #4\n b start");
}
