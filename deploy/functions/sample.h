/* What the sample functions share: whole writes, the query, and whether to write a header block. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Large pieces, so that streaming costs few calls into the host. */
#define PIECE_BYTES 65536

/* Says on standard error what is wrong and ends with status 1: the caller sees both. */
static inline _Noreturn void complain(const char *what) {
    write(2, what, strlen(what));
    write(2, "\n", 1);
    exit(1);
}

static inline void put(const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = write(1, at, size);
        if (n <= 0) exit(1);
        at += n;
        size -= (size_t)n;
    }
}

static inline void put_text(const char *text) { put(text, strlen(text)); }

static inline void put_number(unsigned long long n) {
    char digits[24];
    char *at = digits + sizeof digits;
    *--at = '\n';
    do *--at = (char)('0' + n % 10); while (n /= 10);
    put(at, (size_t)(digits + sizeof digits - at));
}

/* Reads the whole body into `to`; complains if it has more than `room` bytes. Returns its size. */
static inline size_t read_all(char *to, size_t room) {
    size_t size = 0;
    for (;;) {
        char one;
        ssize_t n = size < room ? read(0, to + size, room - size) : read(0, &one, 1);
        if (n < 0) complain("cannot read the body");
        if (n == 0) return size;
        if (size == room) complain("the body is too long");
        size += (size_t)n;
    }
}

/* Whether a header block is expected before the output (annotation `peerless.output: cgi`): the
   sandbox then sets GATEWAY_INTERFACE, as RFC 3875 says. */
static inline int cgi(void) { return getenv("GATEWAY_INTERFACE") != NULL; }

/* The value of `name` in the query, up to its end or `&`; NULL if it is not there. */
static inline const char *query_value(const char *name) {
    const char *at = getenv("Http_Query");
    size_t size = strlen(name);
    while (at && *at) {
        if (strncmp(at, name, size) == 0 && at[size] == '=') return at + size + 1;
        at = strchr(at, '&');
        if (at) at++;
    }
    return NULL;
}

#endif
