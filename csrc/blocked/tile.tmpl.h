/* A register tile: up to GCAM_TILE_RUNS x BLOCKED_COLUMNS pixels times BLOCKED_CHANNELS output channels.
 *
 *   sum[pixel][channel] = sum over blocks b, taps t, lanes k of in[b in_block + taps[t] + k] w[b][t][k][channel]
 *
 * Weights are one stream, [block][tap][GCAM_BLOCK][BLOCKED_CHANNELS]; of the last block, lanes k that hold no channel
 * are left out. Every sum runs over b, t, k in ascending order in
 * one chain, continued from memory where an earlier call began it: how the blocks are cut into calls does not change
 * the bits. */

#define BLOCKED_CHANNELS GCAM_TILE_CHANNELS(VLANES)
#define BLOCKED_VECTORS (BLOCKED_CHANNELS / VLANES)
#define BLOCK_VECTORS (GCAM_BLOCK / VLANES)
/* Pixels of a run: the sums of all runs, a row of weights and a pixel fit the registers. */
#define BLOCKED_FITTING ((GCAM_REGISTERS - BLOCKED_VECTORS - 1) / (GCAM_TILE_RUNS * BLOCKED_VECTORS))
#define BLOCKED_COLUMNS (BLOCKED_FITTING > 1 ? BLOCKED_FITTING : 1)
/* Elements of a cache line; how far ahead of its use the stream of weights is fetched. */
#define BLOCKED_LINE (64 / (int)sizeof(real_t))
#define BLOCKED_AHEAD (8192 / (int)sizeof(real_t))
/* Offset of vector v of pixel p of a run. */
#define BLOCKED_OFFSET(p, pixel, v, block)                                                                             \
    ((p) * (pixel) + (v) / BLOCK_VECTORS * (block) + (v) % BLOCK_VECTORS * VLANES)

typedef struct {
    const real_t *in[GCAM_TILE_RUNS];
    const real_t *residual[GCAM_TILE_RUNS]; /* NULL: none */
    real_t *out[GCAM_TILE_RUNS];
    const real_t *weights, *bias; /* bias NULL: none */
} GCAM_FN(tile_place);

GCAM_INLINE void
GCAM_FN(tile_begin)(const int runs, const int columns, const int vectors, const gcam_tile_geom *g,
                    const gcam_tile_part *part, const GCAM_FN(tile_place) * at,
                    vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        const ptrdiff_t left = part->bias_length - v * VLANES;
        vreal bias = {0};
        if (part->begins && at->bias != NULL && left > 0) {
            bias = left < VLANES ? V(load_n)(at->bias + v * VLANES, left) : V(load)(at->bias + v * VLANES);
        }
        const int stored = !part->begins && v / BLOCK_VECTORS < part->out_blocks;
#pragma GCC unroll 14
        for (int p = 0; p < runs * columns; p++) {
            const real_t *run = at->out[p / columns];
            sum[p][v] = stored ? V(load)(run + BLOCKED_OFFSET(p % columns, g->out_pixel, v, g->out_block)) : bias;
        }
    }
}

/* `in_pixel` is a constant once inlined, or g->in_pixel. */
GCAM_INLINE void
GCAM_FN(tile_sum)(const int runs, const int columns, const int vectors, const ptrdiff_t in_pixel,
                  const gcam_tile_geom *g, const gcam_tile_part *part, const GCAM_FN(tile_place) * at,
                  vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    const real_t *restrict w = at->weights;
    for (ptrdiff_t b = 0; b < part->in_blocks; b++) {
        const ptrdiff_t spare = b + 1 < part->in_blocks ? 0 : part->spare;
        for (ptrdiff_t t = 0; t < g->tap_count; t++) {
            const real_t *restrict first = at->in[0] + b * g->in_block + g->taps[t];
            const real_t *restrict second = at->in[runs - 1] + b * g->in_block + g->taps[t];
            for (ptrdiff_t k = spare; k < GCAM_BLOCK; k++) {
                vreal line[BLOCKED_VECTORS];
#pragma GCC unroll 4
                for (int v = 0; v < vectors * VLANES; v += BLOCKED_LINE) {
                    __builtin_prefetch(w + BLOCKED_AHEAD + v);
                }
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++) {
                    line[v] = V(load)(w + v * VLANES);
                }
#pragma GCC unroll 14
                for (int p = 0; p < runs * columns; p++) {
                    const real_t *run = p < columns ? first : second;
                    const vreal x = V(set1)(run[p % columns * in_pixel]);
#pragma GCC unroll 8
                    for (int v = 0; v < vectors; v++) {
                        sum[p][v] = V(fma)(x, line[v], sum[p][v]);
                    }
                }
                first++;
                second++;
                w += BLOCKED_CHANNELS;
            }
            w += spare * BLOCKED_CHANNELS;
        }
    }
}

/* sum += what lies at `from`, in the blocks that are stored. */
GCAM_INLINE void
GCAM_FN(tile_add)(const int runs, const int columns, const int vectors, const gcam_tile_part *part,
                  const real_t *const *from, ptrdiff_t pixel, ptrdiff_t block,
                  vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        if (v / BLOCK_VECTORS >= part->out_blocks) {
            break;
        }
#pragma GCC unroll 14
        for (int p = 0; p < runs * columns; p++) {
            const real_t *run = from[p / columns];
            sum[p][v] = V(add)(sum[p][v], V(load)(run + BLOCKED_OFFSET(p % columns, pixel, v, block)));
        }
    }
}

/* sum = f(sum) for an activation that fits the registers. */
GCAM_INLINE void
GCAM_FN(tile_map)(const int runs, const int columns, const int vectors, const gcam_unary_op op,
                  const gcam_epilogue *epilogue, vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    const vreal low = V(set1)((real_t)epilogue->alpha), high = V(set1)((real_t)epilogue->beta);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
#pragma GCC unroll 14
        for (int p = 0; p < runs * columns; p++) {
            sum[p][v] = GCAM_FN(blocked_short)(op, low, high, sum[p][v]);
        }
    }
}

/* sum = f(sum) if the activation fits the registers. */
GCAM_INLINE void
GCAM_FN(tile_short)(const int runs, const int columns, const int vectors, const gcam_epilogue *epilogue,
                    vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    if (epilogue->op == GCAM_UNARY_RELU) {
        GCAM_FN(tile_map)(runs, columns, vectors, GCAM_UNARY_RELU, epilogue, sum);
    } else if (epilogue->op == GCAM_UNARY_CLIP) {
        GCAM_FN(tile_map)(runs, columns, vectors, GCAM_UNARY_CLIP, epilogue, sum);
    }
}

/* Stores the sums; at the end of them with residual and activation, the common ones in registers. */
GCAM_INLINE void
GCAM_FN(tile_end)(const int runs, const int columns, const int vectors, const gcam_tile_geom *g,
                  const gcam_tile_part *part, const GCAM_FN(tile_place) * at,
                  vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    if (part->adds) {
        const real_t *const stored[] = {at->out[0], at->out[1]};
        GCAM_FN(tile_add)(runs, columns, vectors, part, stored, g->out_pixel, g->out_block, sum);
    }
    if (part->ends && at->residual[0] != NULL) {
        GCAM_FN(tile_add)(runs, columns, vectors, part, at->residual, g->residual_pixel, g->residual_block, sum);
    }
    if (part->ends) {
        GCAM_FN(tile_short)(runs, columns, vectors, g->epilogue, sum);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        if (v / BLOCK_VECTORS >= part->out_blocks) {
            break;
        }
#pragma GCC unroll 14
        for (int p = 0; p < runs * columns; p++) {
            V(store)(at->out[p / columns] + BLOCKED_OFFSET(p % columns, g->out_pixel, v, g->out_block), sum[p][v]);
        }
    }
}

/* Activations that do not fit the registers, over what the tile has just stored. */
static void
GCAM_FN(tile_activate)(ptrdiff_t runs, ptrdiff_t columns, const gcam_tile_geom *g, const gcam_tile_part *part,
                       const GCAM_FN(tile_place) * at)
{
    const int together = g->out_pixel == GCAM_BLOCK;
    for (ptrdiff_t run = 0; run < runs; run++) {
        for (ptrdiff_t block = 0; block < part->out_blocks; block++) {
            real_t *y = at->out[run] + block * g->out_block;
            for (ptrdiff_t p = 0; p < (together ? 1 : columns); p++) {
                GCAM_FN(blocked_finish)(g->epilogue, NULL, y + p * g->out_pixel,
                                        together ? columns * GCAM_BLOCK : GCAM_BLOCK);
            }
        }
    }
}

GCAM_INLINE void
GCAM_FN(tile_finish)(const int runs, const int columns, const int vectors, const gcam_tile_geom *g,
                     const gcam_tile_part *part, const GCAM_FN(tile_place) * at,
                     vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS])
{
    GCAM_FN(tile_end)(runs, columns, vectors, g, part, at, sum);
    if (part->ends && !GCAM_FN(blocked_fits_registers)(g->epilogue)) {
        GCAM_FN(tile_activate)(runs, columns, g, part, at);
    }
}

GCAM_INLINE void
GCAM_FN(tile_of)(const int runs, const int columns, const int vectors, const ptrdiff_t in_pixel,
                 const gcam_tile_geom *g, const gcam_tile_part *part, const GCAM_FN(tile_place) * at)
{
    vreal sum[GCAM_TILE_RUNS * BLOCKED_COLUMNS][BLOCKED_VECTORS];
    GCAM_FN(tile_begin)(runs, columns, vectors, g, part, at, sum);
    GCAM_FN(tile_sum)(runs, columns, vectors, in_pixel, g, part, at, sum);
    GCAM_FN(tile_finish)(runs, columns, vectors, g, part, at, sum);
}

/* Tiles of one kind (`tile`, or the one of blocked/bf16.tmpl.h) for all numbers of runs and columns. */
#define GCAM_DEFINE_TILE(kind, runs, columns, name, vectors, in_pixel)                                                 \
    static void GCAM_FN(kind##_##runs##x##columns##_##name)(const gcam_tile_geom *g, const gcam_tile_part *part,       \
                                                            const GCAM_FN(kind##_place) * at)                          \
    {                                                                                                                  \
        if (columns <= BLOCKED_COLUMNS) { /* else never called, and empty */                                           \
            GCAM_FN(kind##_of)(runs, columns < BLOCKED_COLUMNS ? columns : BLOCKED_COLUMNS, vectors, in_pixel, g,      \
                               part, at);                                                                              \
        }                                                                                                              \
    }
#define GCAM_DEFINE_TILE_SIZES(kind, name, vectors, in_pixel)                                                          \
    GCAM_DEFINE_TILE(kind, 1, 1, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 2, 1, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 1, 2, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 2, 2, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 1, 3, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 2, 3, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 1, 4, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 2, 4, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 1, 5, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 2, 5, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 1, 6, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 2, 6, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 1, 7, name, vectors, in_pixel)                                                              \
    GCAM_DEFINE_TILE(kind, 2, 7, name, vectors, in_pixel)
#define GCAM_TILE_ROW(kind, runs, name)                                                                                \
    {GCAM_FN(kind##_##runs##x1_##name), GCAM_FN(kind##_##runs##x2_##name), GCAM_FN(kind##_##runs##x3_##name),          \
     GCAM_FN(kind##_##runs##x4_##name), GCAM_FN(kind##_##runs##x5_##name), GCAM_FN(kind##_##runs##x6_##name),          \
     GCAM_FN(kind##_##runs##x7_##name)}
/* kind(runs, columns, blocks, in_pixel): the tile of so many runs and columns (<= BLOCKED_COLUMNS) and output blocks,
 * for pixels `in_pixel` apart. */
#define GCAM_DEFINE_TILES(kind)                                                                                        \
    GCAM_DEFINE_TILE_SIZES(kind, dense, BLOCKED_VECTORS, GCAM_BLOCK)                                                   \
    GCAM_DEFINE_TILE_SIZES(kind, halved, BLOCKED_VECTORS, 2 * GCAM_BLOCK)                                              \
    GCAM_DEFINE_TILE_SIZES(kind, strided, BLOCKED_VECTORS, g->in_pixel)                                                \
    GCAM_DEFINE_TILE_SIZES(kind, narrow, BLOCK_VECTORS, g->in_pixel)                                                   \
    typedef void (*GCAM_FN(kind##_function))(const gcam_tile_geom *, const gcam_tile_part *,                           \
                                             const GCAM_FN(kind##_place) *);                                           \
    static GCAM_FN(kind##_function)                                                                                    \
        GCAM_FN(kind)(ptrdiff_t runs, ptrdiff_t columns, ptrdiff_t blocks, ptrdiff_t in_pixel)                         \
    {                                                                                                                  \
        static const GCAM_FN(kind##_function) table[4][GCAM_TILE_RUNS][7] = {                                          \
            {GCAM_TILE_ROW(kind, 1, dense), GCAM_TILE_ROW(kind, 2, dense)},                                            \
            {GCAM_TILE_ROW(kind, 1, halved), GCAM_TILE_ROW(kind, 2, halved)},                                          \
            {GCAM_TILE_ROW(kind, 1, strided), GCAM_TILE_ROW(kind, 2, strided)},                                        \
            {GCAM_TILE_ROW(kind, 1, narrow), GCAM_TILE_ROW(kind, 2, narrow)},                                          \
        };                                                                                                             \
        const int apart = in_pixel == GCAM_BLOCK ? 0 : in_pixel == 2 * GCAM_BLOCK ? 1 : 2;                             \
        return table[blocks * GCAM_BLOCK < BLOCKED_CHANNELS ? 3 : apart][runs - 1][columns - 1];                       \
    }

GCAM_DEFINE_TILES(tile)
