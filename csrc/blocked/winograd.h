/* Winograd convolution F(4x4, 3x3) on blocked tensors: 3x3 taps, stride 1, one group; its input gradient is the same
 * kernel on other weights.
 *
 *   y[n][k][i] = f(sum over c, r in 3x3 of w[k][c][r] x[n][c][i + r - pad] + bias[k] + residual[n][k][i])
 *
 * Each 4x4 tile of y comes from a 6x6 patch of x: B^T d B of every channel, 36 products over channels, A^T m A of every
 * output channel; 36 multiplications where the sum above has 144. The points are 0, 3/4, -3/4, 3/2, -3/2 and infinity:
 * all constants of the input and output transforms are exact, and the error is a quarter of that of the usual points 0,
 * 1, -1, 2, -2. The weights are transformed in double. On random normal data the largest error is at most 3e-6 of the
 * largest output in float32, 8e-15 in float64; that of the direct sum is 1e-6 to 2e-6 in float32. A NaN of x reaches
 * every output that reads it, and none outside the 4x4 tiles that read it; an infinity becomes NaN there, and so may
 * numbers within a factor of 1000 of the largest.
 *
 *   blocked_winograd_pack    w (K, C, 3, 3), plain -> U [36][tiles of BLOCKED_CHANNELS rows][blocks of 16 columns][16]
 *                            [BLOCKED_CHANNELS]. Rows are k and columns c or, with gradient = 1, rows are c, columns k,
 *                            and the taps are flipped. Rows are filled up with zeros to GCAM_WINOGRAD_ROWS, columns to
 *                            GCAM_BLOCK.
 *                            ints: k, c, gradient
 *   blocked_winograd_output  x, U, bias (K) or NULL, residual or NULL -> y
 *                            ints: x (8), y (8), pad top, pad left, epilogue; reals: alpha, beta (blocked/blocked.h)
 *
 * y may have any height and width: the border of x must reach as far as its last tile reads (top and left at least the
 * padding, 4 ceil(size / 4) + 2 positions from there), else GCAM_E_PADDING. The input gradient of a convolution padded
 * by p has padding 2 - p. Nothing may overlap, but y may be the residual (of the same border).
 *
 * Scratch of a worker: transformed patches of `block` tiles and all channels, products of these tiles and `group`
 * output blocks. */
#ifndef GCAM_BLOCKED_WINOGRAD_H
#define GCAM_BLOCKED_WINOGRAD_H

#include "blocked/blocked.h"

#define GCAM_WINOGRAD_TILE 4
#define GCAM_WINOGRAD_PATCH 6
#define GCAM_WINOGRAD_POINTS 36
/* Rows of the packed weights come in multiples of this, which is a multiple of every BLOCKED_CHANNELS. */
#define GCAM_WINOGRAD_ROWS 32

/* The points other than 0 and infinity, each with its negative. */
#define GCAM_WINOGRAD_NEAR 0.75
#define GCAM_WINOGRAD_FAR 1.5
/* Input blocks, at most, that one chain of sums runs over: the error grows with the length of a chain. */
#define GCAM_WINOGRAD_CHAIN 8

typedef struct {
    ptrdiff_t k, c, gradient;
    ptrdiff_t rows, columns, column_blocks;
} gcam_winograd_pack_geom;

typedef struct {
    gcam_blocked x, y;
    gcam_epilogue epilogue;
    ptrdiff_t corner;                  /* elements of x before the first patch of a block */
    ptrdiff_t tile_rows, tile_columns; /* of one picture */
    ptrdiff_t block;                   /* tiles that are transformed together, at most */
    ptrdiff_t group;                   /* output blocks that are multiplied together, at most */
    ptrdiff_t in_plane, out_plane;     /* scratch elements from one of the 36 matrices to the next */
} gcam_winograd_geom;

/* The part of the work that belongs to a worker: tiles (counted over all pictures) times tiles of output channels. */
typedef struct {
    ptrdiff_t first, last, channel_first, channel_last;
} gcam_winograd_share;

/* `channel_tiles` tiles of `channel_blocks` output blocks each. */
gcam_winograd_share gcam_winograd_part(const gcam_winograd_geom *geom, ptrdiff_t channel_tiles,
                                       ptrdiff_t channel_blocks, int worker, int workers);

gcam_status gcam_blocked_winograd_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_winograd_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
