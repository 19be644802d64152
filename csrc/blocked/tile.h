/* The register tile that the dense blocked kernels share (blocked/tile.tmpl.h). */
#ifndef GCAM_BLOCKED_TILE_H
#define GCAM_BLOCKED_TILE_H

#include "blocked/blocked.h"

/* A tile has up to two runs of pixels, with a base pointer each. */
#define GCAM_TILE_RUNS 2

/* Output channels of a tile: whole blocks, and two vectors at least. */
#define GCAM_TILE_CHANNELS(lanes) (2 * (lanes) > GCAM_BLOCK ? 2 * (lanes) : GCAM_BLOCK)

/* What stays the same from tile to tile; distances in elements. */
typedef struct {
    ptrdiff_t in_pixel,
        in_block;          /* from one pixel of a run to the next, from one block of input channels to the next */
    const ptrdiff_t *taps; /* input offsets summed over besides channels */
    ptrdiff_t tap_count;
    ptrdiff_t out_pixel, out_block, residual_block;
    ptrdiff_t residual_pixel;
    const gcam_epilogue *epilogue;
} gcam_tile_geom;

/* What a call of the tile does with its sums. */
typedef struct {
    int begins, ends;      /* starts from the bias, not from what is stored; ends with the epilogue */
    ptrdiff_t in_blocks;   /* input blocks summed over */
    ptrdiff_t spare;       /* lanes of the last of them that hold no channel, and are left out */
    ptrdiff_t out_blocks;  /* output blocks stored: the last tile may have fewer than it computes */
    ptrdiff_t bias_length; /* elements of the bias from this tile on */
    int adds;              /* the sums, begun anew, are added to what is stored: several short chains for one long */
} gcam_tile_part;

#endif
