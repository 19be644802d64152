/* bf16_round, and the register tile of bfloat16 (blocked/bf16.h): that of blocked/tile.tmpl.h with pairs of input
 * channels.
 *
 * All input channels are summed in one call, so that what is stored between calls need not be rounded. */

/* y = x for `count` numbers, a multiple of VLANES. */
static void
GCAM_FN(bf16_line)(const real_t *x, uint16_t *y, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i += VLANES) {
        V(bf16_store)(y + i, V(load)(x + i));
    }
}

static void
GCAM_FN(bf16_round)(const gcam_bf16_geom *g, const real_t *x, uint16_t *y, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->count / GCAM_BLOCK, worker, workers, &begin, &end);
    GCAM_FN(bf16_line)(x + begin * GCAM_BLOCK, y + begin * GCAM_BLOCK, (end - begin) * GCAM_BLOCK);
}

typedef struct {
    GCAM_FN(tile_place) real; /* bias; residual and result where they are real numbers, else NULL */
    const uint16_t *in[GCAM_TILE_RUNS];
    const uint16_t *residual[GCAM_TILE_RUNS]; /* where it is bfloat16, else NULL */
    uint16_t *out[GCAM_TILE_RUNS];            /* where it is bfloat16, else NULL */
    const uint16_t *weights;
} GCAM_FN(bf16_tile_place);

/* A place with neither result nor residual yet. */
static GCAM_FN(bf16_tile_place) GCAM_FN(bf16_place)(const uint16_t *weights, const real_t *bias)
{
    return (GCAM_FN(bf16_tile_place)){.weights = weights, .real = {.bias = bias}};
}

/* Where run number `run` of a tile reads its residual, if there is one, and writes its result. */
GCAM_INLINE void
GCAM_FN(bf16_put)(GCAM_FN(bf16_tile_place) * at, ptrdiff_t run, const void *residual, ptrdiff_t residual_offset,
                  int bf16_residual, void *result, ptrdiff_t offset, int bf16_result)
{
    if (bf16_result) {
        at->out[run] = (uint16_t *)result + offset;
    } else {
        at->real.out[run] = (real_t *)result + offset;
    }
    if (residual != NULL && bf16_residual) {
        at->residual[run] = (const uint16_t *)residual + residual_offset;
    } else if (residual != NULL) {
        at->real.residual[run] = (const real_t *)residual + residual_offset;
    }
}

GCAM_INLINE void
GCAM_FN(bf16_tile_sum)(const int runs, const int columns, const int vectors, const ptrdiff_t in_pixel,
                       const gcam_tile_geom *g, ptrdiff_t blocks, const GCAM_FN(bf16_tile_place) * at,
                       vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    const uint16_t *restrict w = at->weights;
    for (ptrdiff_t b = 0; b < blocks; b++) {
        for (ptrdiff_t t = 0; t < g->tap_count; t++) {
            const uint16_t *restrict first = at->in[0] + b * g->in_block + g->taps[t];
            const uint16_t *restrict second = at->in[runs - 1] + b * g->in_block + g->taps[t];
            for (int k = 0; k < GCAM_BLOCK; k += 2) {
                V(pairs) line[BLOCKED_VECTORS];
#pragma GCC unroll 4
                for (int v = 0; v < 2 * vectors * VLANES; v += 32) { /* a cache line each */
                    __builtin_prefetch(w + 4096 + v);
                }
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++) {
                    line[v] = V(pairs_load)(w + 2 * v * VLANES);
                }
#pragma GCC unroll 14
                for (int p = 0; p < runs * columns; p++) {
                    const uint16_t *run = p < columns ? first : second;
                    const V(pairs) x = V(pairs_set1)(run + p % columns * in_pixel);
#pragma GCC unroll 8
                    for (int v = 0; v < vectors; v++) {
                        sum[p][v] = V(dot)(x, line[v], sum[p][v]);
                    }
                }
                first += 2;
                second += 2;
                w += 2 * BLOCKED_CHANNELS;
            }
        }
    }
}

GCAM_INLINE void
GCAM_FN(bf16_tile_add)(const int runs, const int columns, const int vectors, const gcam_tile_geom *g,
                       const gcam_tile_part *part, const GCAM_FN(bf16_tile_place) * at,
                       vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        if (v / BLOCK_VECTORS >= part->out_blocks) {
            break;
        }
#pragma GCC unroll 14
        for (int p = 0; p < runs * columns; p++) {
            const uint16_t *run = at->residual[p / columns];
            sum[p][v] = V(add)(
                sum[p][v], V(bf16_load)(run + BLOCKED_OFFSET(p % columns, g->residual_pixel, v, g->residual_block)));
        }
    }
}

/* Activations that do not fit the registers, by way of memory. */
GCAM_INLINE void
GCAM_FN(bf16_tile_activate)(const int pixels, const int vectors, const gcam_tile_geom *g,
                            vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    real_t values[GCAM_TILE_RUNS * BLOCKED_COLUMNS * BLOCKED_CHANNELS];
#pragma GCC unroll 14
    for (int p = 0; p < pixels; p++) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            V(store)(values + (p * vectors + v) * VLANES, sum[p][v]);
        }
    }
    GCAM_FN(blocked_finish)(g->epilogue, NULL, values, pixels * vectors * VLANES);
#pragma GCC unroll 14
    for (int p = 0; p < pixels; p++) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            sum[p][v] = V(load)(values + (p * vectors + v) * VLANES);
        }
    }
}

/* The sums with activation, rounded. */
GCAM_INLINE void
GCAM_FN(bf16_tile_store)(const int runs, const int columns, const int vectors, const gcam_tile_geom *g,
                         const gcam_tile_part *part, const GCAM_FN(bf16_tile_place) * at,
                         vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    GCAM_FN(tile_short)(runs, columns, vectors, g->epilogue, sum);
    if (!GCAM_FN(blocked_fits_registers)(g->epilogue)) {
        GCAM_FN(bf16_tile_activate)(runs * columns, vectors, g, sum);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        if (v / BLOCK_VECTORS >= part->out_blocks) {
            break;
        }
#pragma GCC unroll 14
        for (int p = 0; p < runs * columns; p++) {
            V(bf16_store)(at->out[p / columns] + BLOCKED_OFFSET(p % columns, g->out_pixel, v, g->out_block), sum[p][v]);
        }
    }
}

GCAM_INLINE void
GCAM_FN(bf16_tile_of)(const int runs, const int columns, const int vectors, const ptrdiff_t in_pixel,
                      const gcam_tile_geom *g, const gcam_tile_part *part, const GCAM_FN(bf16_tile_place) * at)
{
    vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS];
    GCAM_FN(tile_begin)(runs, columns, vectors, g, part, &at->real, sum);
    GCAM_FN(bf16_tile_sum)(runs, columns, vectors, in_pixel, g, part->in_blocks, at, sum);
    if (at->residual[0] != NULL) {
        GCAM_FN(bf16_tile_add)(runs, columns, vectors, g, part, at, sum);
    }
    if (at->out[0] == NULL) {
        GCAM_FN(tile_finish)(runs, columns, vectors, g, part, &at->real, sum);
        return;
    }
    if (at->real.residual[0] != NULL) {
        GCAM_FN(tile_add)(runs, columns, vectors, part, at->real.residual, g->residual_pixel, g->residual_block, sum);
    }
    GCAM_FN(bf16_tile_store)(runs, columns, vectors, g, part, at, sum);
}

GCAM_DEFINE_TILES(bf16_tile)
#undef GCAM_TILE_ROW
#undef GCAM_DEFINE_TILES
#undef GCAM_DEFINE_TILE_SIZES
#undef GCAM_DEFINE_TILE
