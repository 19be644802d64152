/* Fetching ahead for kernels that read several rows side by side.
 *
 * The processor foresees one stream, not rows that are read together and left after a few lines: where an array is in
 * no cache, such a kernel waits for memory most of the time. So its lines are asked for in the order in which they lie,
 * GCAM_FETCH_BYTES ahead. A turn is what is read of the rows side by side before the next rows have theirs: whole rows,
 * or a chunk of long ones. As the last lines that are asked for in a turn are the last rows' first, a fetch is a turn
 * further ahead. It may run past the end of the array: nothing is read. */
#ifndef GCAM_CAM_FETCH_H
#define GCAM_CAM_FETCH_H

#include <stddef.h>
#include <stdint.h>

enum { GCAM_FETCH_LINE = 64, GCAM_FETCH_BYTES = 12288, GCAM_FETCH_ROW = 4096 /* bytes of a long row */ };

/* Rows, or chunks of them, of `row` bytes; from the end of one to the next it is `gap`. */
typedef struct {
    uintptr_t at;
    ptrdiff_t left, row, gap;
} gcam_fetch;

/* Turns of so many bytes that a fetch is ahead. */
static inline ptrdiff_t
gcam_fetch_turns(ptrdiff_t bytes)
{
    return 1 + (GCAM_FETCH_BYTES + bytes - 1) / bytes;
}

static inline __attribute__((always_inline)) gcam_fetch
gcam_fetch_start(const void *base, ptrdiff_t offset, ptrdiff_t row, ptrdiff_t stride)
{
    /* The ends of rows without a gap need not be noticed. */
    return (gcam_fetch){(uintptr_t)base + (uintptr_t)offset, stride == row ? PTRDIFF_MAX : row, row, stride - row};
}

static inline __attribute__((always_inline)) void
gcam_fetch_next(gcam_fetch *fetch, ptrdiff_t bytes)
{
    for (ptrdiff_t i = 0; i < bytes; i += GCAM_FETCH_LINE) {
        __builtin_prefetch((const void *)(fetch->at + (uintptr_t)i));
    }
    fetch->at += (uintptr_t)bytes;
    fetch->left -= bytes;
    if (fetch->left <= 0) {
        fetch->at += (uintptr_t)(fetch->left + fetch->gap);
        fetch->left = fetch->row;
    }
}

/* The turns of `rows` rows of `positions` numbers of `size` bytes. */
typedef struct {
    ptrdiff_t rows, positions, size;
    ptrdiff_t chunk, chunked;    /* positions of a turn; those of a row rounded up to whole turns */
    ptrdiff_t ahead_rows, ahead; /* how far ahead a fetch is; one of them is 0 */
} gcam_turns;

/* Chunks are multiples of 64 positions. */
static inline gcam_turns
gcam_turns_of(ptrdiff_t positions, ptrdiff_t rows, ptrdiff_t size)
{
    if (positions <= GCAM_FETCH_ROW / size) {
        const ptrdiff_t ahead_rows = rows * gcam_fetch_turns(positions * rows * size);
        return (gcam_turns){rows, positions, size, positions, positions, ahead_rows, 0};
    }
    const ptrdiff_t chunk = GCAM_FETCH_ROW / 2 / size, chunked = (positions + chunk - 1) / chunk * chunk;
    const ptrdiff_t ahead = chunk * gcam_fetch_turns(chunk * rows * size);
    return (gcam_turns){rows, positions, size, chunk, chunked, 0, ahead < chunked ? ahead : chunked};
}

/* What is to be fetched while the rows from `row` on have their turn from position x on; strides in numbers. */
static inline __attribute__((always_inline)) gcam_fetch
gcam_turn_fetch(const gcam_turns *turns, const void *row, ptrdiff_t row_stride, ptrdiff_t x_stride, ptrdiff_t x)
{
    ptrdiff_t rows = turns->ahead_rows;
    x += turns->ahead;
    if (x >= turns->chunked) {
        x -= turns->chunked;
        rows += turns->rows;
    }
    return gcam_fetch_start(row, (rows * row_stride + x * x_stride) * turns->size,
                            turns->chunk * x_stride * turns->size, row_stride * turns->size);
}

#endif
