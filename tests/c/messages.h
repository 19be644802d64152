/* Messages on standard input and output: rows of 64-bit integers, arrays and texts as their bytes after the number of
 * bytes. Whatever goes wrong ends the process. */
#ifndef GCAM_TESTS_MESSAGES_H
#define GCAM_TESTS_MESSAGES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define GUARD_BYTES 64
#define GUARD 0xa5

_Noreturn static inline void
end(const char *why)
{
    fprintf(stderr, "remote: %s\n", why);
    exit(1);
}

static inline void
get(void *bytes, size_t count)
{
    if (fread(bytes, 1, count, stdin) != count) {
        end("the input ended within a message");
    }
}

static inline void
put(const void *bytes, size_t count)
{
    if (fwrite(bytes, 1, count, stdout) != count) {
        end("nobody reads");
    }
}

static inline int64_t
get_int(void)
{
    int64_t value;
    get(&value, sizeof value);
    return value;
}

/* A number of things, which the caller sends after it. */
static inline size_t
get_count(void)
{
    const int64_t count = get_int();
    if (count < 0 || count > (int64_t)1 << 40) {
        end("not a count");
    }
    return (size_t)count;
}

static inline void
put_int(int64_t value)
{
    put(&value, sizeof value);
}

static inline void *
allocate(size_t bytes)
{
    void *block = gcam_malloc(bytes);
    if (block == NULL) {
        end("no memory");
    }
    return block;
}

static inline void
get_text(char *text, size_t room)
{
    const size_t length = get_count();
    if (length >= room) {
        end("a text is too long");
    }
    get(text, length);
    text[length] = '\0';
}

/* --- arrays: each once in a message, whatever operands it is; what lies behind them must not change */

typedef struct {
    size_t count, *bytes;
    unsigned char **data;
} arrays;

static inline arrays
get_arrays(void)
{
    arrays all = {.count = get_count()};
    all.bytes = allocate(all.count * sizeof *all.bytes);
    all.data = allocate(all.count * sizeof *all.data);
    for (size_t i = 0; i < all.count; i++) {
        all.bytes[i] = get_count();
        all.data[i] = allocate(all.bytes[i] + GUARD_BYTES);
        get(all.data[i], all.bytes[i]);
        memset(all.data[i] + all.bytes[i], GUARD, GUARD_BYTES);
    }
    return all;
}

/* The array whose number comes next (-1: none). */
static inline unsigned char *
get_operand(const arrays *all, size_t *bytes)
{
    const int64_t number = get_int();
    if (number >= (int64_t)all->count) {
        end("no such array");
    }
    *bytes = number < 0 ? 0 : all->bytes[number];
    return number < 0 ? NULL : all->data[number];
}

static inline void
free_arrays(arrays *all)
{
    for (size_t i = 0; i < all->count; i++) {
        for (size_t j = 0; j < GUARD_BYTES; j++) {
            if (all->data[i][all->bytes[i] + j] != GUARD) {
                end("a kernel wrote behind an array");
            }
        }
        gcam_free(all->data[i]);
    }
    gcam_free(all->bytes);
    gcam_free(all->data);
}

#endif
