/* Kernel of blocked/weight.h. */

#define WEIGHT_ROWS (GCAM_TILE_ROWS < 8 ? 4 : 8)
#define WEIGHT_PARTS (GCAM_BLOCK / VLANES) /* vectors of a block */

/* total[r][v] += sum over the pixels of a strip of number r of dy's times vector v of x's. */
static void
GCAM_FN(blocked_weight_strip)(const gcam_blocked_weight_geom *g, ptrdiff_t rows, const real_t *restrict dy,
                              const real_t *restrict x, const ptrdiff_t offset[GCAM_TILE_VECTORS],
                              vreal total[WEIGHT_ROWS][GCAM_TILE_VECTORS])
{
    const ptrdiff_t down = g->window.stride[0] * g->x.row, right = g->window.stride[1] * GCAM_BLOCK;
    vreal sum[WEIGHT_ROWS][GCAM_TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < WEIGHT_ROWS; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < GCAM_TILE_VECTORS; v++) {
            sum[r][v] = (vreal){0};
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        const real_t *number = dy + i * g->dy.row, *line = x + i * down;
        for (ptrdiff_t o = 0; o < g->dy.w; o++, number += GCAM_BLOCK, line += right) {
            vreal vector[GCAM_TILE_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < GCAM_TILE_VECTORS; v++) {
                vector[v] = V(load)(line + offset[v]);
            }
#pragma GCC unroll 8
            for (int r = 0; r < WEIGHT_ROWS; r++) {
                const vreal scalar = V(set1)(number[r]);
#pragma GCC unroll 4
                for (int v = 0; v < GCAM_TILE_VECTORS; v++) {
                    sum[r][v] = V(fma)(scalar, vector[v], sum[r][v]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < WEIGHT_ROWS; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < GCAM_TILE_VECTORS; v++) {
            total[r][v] = V(add)(total[r][v], sum[r][v]);
        }
    }
}

/* Elements from the origin of a picture of x to what vector `v` reads at pixel (0, 0) of dy. Vectors are counted part
 * by part of a block, then tap by tap, then block by block. */
static ptrdiff_t
GCAM_FN(blocked_weight_offset)(const gcam_blocked_weight_geom *g, ptrdiff_t v)
{
    const gcam_window *w = &g->window;
    const ptrdiff_t part = v % WEIGHT_PARTS, tap = v / WEIGHT_PARTS % g->taps, block = v / WEIGHT_PARTS / g->taps;
    const ptrdiff_t row = tap / w->kernel[1] * w->dilation[0] - w->pad_lo[0];
    const ptrdiff_t column = tap % w->kernel[1] * w->dilation[1] - w->pad_lo[1];
    return block * g->x.plane + row * g->x.row + column * GCAM_BLOCK + part * VLANES;
}

/* Sums of a tile: stored if `first`, else added to what is there. */
static void
GCAM_FN(blocked_weight_store)(const gcam_blocked_weight_geom *g, vreal total[WEIGHT_ROWS][GCAM_TILE_VECTORS],
                              ptrdiff_t k, ptrdiff_t rows, ptrdiff_t vector, ptrdiff_t vectors, bool first, real_t *dw)
{
    for (ptrdiff_t v = vector; v < vector + vectors; v++) {
        const ptrdiff_t tap = v / WEIGHT_PARTS % g->taps;
        const ptrdiff_t c = v / WEIGHT_PARTS / g->taps * GCAM_BLOCK + v % WEIGHT_PARTS * VLANES;
        const ptrdiff_t lanes = g->x.c - c < VLANES ? g->x.c - c : VLANES;
        for (ptrdiff_t r = 0; r < rows; r++) {
            real_t lane[VLANES], *place = dw + ((k + r) * g->x.c + c) * g->taps + tap;
            V(store)(lane, total[r][v - vector]);
            for (ptrdiff_t i = 0; i < lanes; i++) {
                place[i * g->taps] = first ? lane[i] : place[i * g->taps] + lane[i];
            }
        }
    }
}

/* One tile over the strips [begin, end). */
static void
GCAM_FN(blocked_weight_tile)(const gcam_blocked_weight_geom *g, const real_t *dy, const real_t *x, ptrdiff_t k,
                             ptrdiff_t vector, ptrdiff_t vectors, ptrdiff_t begin, ptrdiff_t end, real_t *dw)
{
    vreal total[WEIGHT_ROWS][GCAM_TILE_VECTORS];
    ptrdiff_t offset[GCAM_TILE_VECTORS];
    memset(total, 0, sizeof total);
    for (ptrdiff_t v = 0; v < GCAM_TILE_VECTORS; v++) { /* beyond the last one: once more, and dropped */
        offset[v] = GCAM_FN(blocked_weight_offset)(g, vector + (v < vectors ? v : vectors - 1));
    }
    for (ptrdiff_t strip = begin; strip < end; strip++) {
        const ptrdiff_t picture = strip / g->strips, row = strip % g->strips * g->strip_rows;
        const ptrdiff_t rows = g->dy.h - row < g->strip_rows ? g->dy.h - row : g->strip_rows;
        GCAM_FN(blocked_weight_strip)(g, rows,
                                      dy + picture * g->dy.picture + k / GCAM_BLOCK * g->dy.plane + g->dy.origin
                                          + row * g->dy.row + k % GCAM_BLOCK,
                                      x + picture * g->x.picture + g->x.origin + row * g->window.stride[0] * g->x.row,
                                      offset, total);
    }
    GCAM_FN(blocked_weight_store)(g, total, k, g->dy.c - k < WEIGHT_ROWS ? g->dy.c - k : WEIGHT_ROWS, vector, vectors,
                                  begin == 0, dw);
}

static void
GCAM_FN(blocked_weight_grad)(const gcam_blocked_weight_geom *g, const real_t *dy, const real_t *x, real_t *dw,
                             void *scratch, int worker, int workers)
{
    const ptrdiff_t vectors = g->x.blocks * g->taps * WEIGHT_PARTS, strips = g->x.n * g->strips;
    const ptrdiff_t across = (vectors + GCAM_TILE_VECTORS - 1) / GCAM_TILE_VECTORS;
    const ptrdiff_t down = (g->dy.c + WEIGHT_ROWS - 1) / WEIGHT_ROWS;
    ptrdiff_t first, last;
    gcam_share(across * down, worker, workers, &first, &last);
    (void)scratch;
    for (ptrdiff_t begin = 0; begin < strips; begin += g->group) {
        const ptrdiff_t end = strips - begin < g->group ? strips : begin + g->group;
        for (ptrdiff_t tile = first; tile < last; tile++) {
            const ptrdiff_t vector = tile / down * GCAM_TILE_VECTORS, left = vectors - vector;
            GCAM_FN(blocked_weight_tile)(g, dy, x, tile % down * WEIGHT_ROWS, vector,
                                         left < GCAM_TILE_VECTORS ? left : GCAM_TILE_VECTORS, begin, end, dw);
        }
    }
}

#undef WEIGHT_ROWS
#undef WEIGHT_PARTS
