/* Kernels of blocked/winograd.h. */

#define WINOGRAD_CHANNEL_BLOCKS (BLOCKED_CHANNELS / GCAM_BLOCK)
/* Columns from a patch to those that are fetched for the patch after the next. */
#define WINOGRAD_AHEAD (2 * GCAM_WINOGRAD_TILE + GCAM_WINOGRAD_PATCH - GCAM_WINOGRAD_TILE)
_Static_assert(GCAM_WINOGRAD_ROWS % BLOCKED_CHANNELS == 0, "packed rows are whole tiles");

/* --- weights */

/* Tiles of so many rows of the packed weights. */
static ptrdiff_t
GCAM_FN(winograd_row_tiles)(ptrdiff_t rows)
{
    return ((rows - 1) / GCAM_WINOGRAD_ROWS + 1) * (GCAM_WINOGRAD_ROWS / BLOCKED_CHANNELS);
}

/* G g for three numbers in double, of each lane: point p has the row (1, p, p^2) / product of p - q over the other
 * finite points q, infinity (0, 0, 1). */
GCAM_INLINE void
GCAM_FN(winograd_weights)(const double *g0, const double *g1, const double *g2, double *u, ptrdiff_t step)
{
    const double a = GCAM_WINOGRAD_NEAR, b = GCAM_WINOGRAD_FAR;
    const double over0 = 1 / (a * a * b * b), over_a = 1 / (2 * a * a * (a * a - b * b));
    const double over_b = 1 / (2 * b * b * (b * b - a * a));
    for (ptrdiff_t i = 0; i < BLOCKED_CHANNELS; i++) {
        const double even_a = (g0[i] + a * a * g2[i]) * over_a, odd_a = a * g1[i] * over_a;
        const double even_b = (g0[i] + b * b * g2[i]) * over_b, odd_b = b * g1[i] * over_b;
        u[i] = g0[i] * over0;
        u[step + i] = even_a + odd_a;
        u[2 * step + i] = even_a - odd_a;
        u[3 * step + i] = even_b + odd_b;
        u[4 * step + i] = even_b - odd_b;
        u[5 * step + i] = g2[i];
    }
}

/* G g G^T of one tile of rows and one column, into the 36 matrices. */
static void
GCAM_FN(winograd_pack_column)(const gcam_winograd_pack_geom *g, const real_t *w, ptrdiff_t row0, ptrdiff_t column,
                              real_t *u, ptrdiff_t plane)
{
    double taps[9][BLOCKED_CHANNELS] = {{0}};
    double half[GCAM_WINOGRAD_PATCH][3][BLOCKED_CHANNELS];
    double whole[GCAM_WINOGRAD_PATCH][BLOCKED_CHANNELS];
    for (ptrdiff_t i = 0; i < BLOCKED_CHANNELS && row0 + i < g->rows && column < g->columns; i++) {
        const ptrdiff_t k = g->gradient ? column : row0 + i, c = g->gradient ? row0 + i : column;
        const real_t *from = w + (k * g->c + c) * 9;
        for (int tap = 0; tap < 9; tap++) {
            taps[tap][i] = (double)from[g->gradient ? 8 - tap : tap];
        }
    }
    for (int j = 0; j < 3; j++) {
        GCAM_FN(winograd_weights)(taps[j], taps[3 + j], taps[6 + j], half[0][j], 3 * BLOCKED_CHANNELS);
    }
    for (int i = 0; i < GCAM_WINOGRAD_PATCH; i++) {
        GCAM_FN(winograd_weights)(half[i][0], half[i][1], half[i][2], whole[0], BLOCKED_CHANNELS);
        for (int j = 0; j < GCAM_WINOGRAD_PATCH; j++) {
            real_t *to = u + (i * GCAM_WINOGRAD_PATCH + j) * plane;
            for (ptrdiff_t channel = 0; channel < BLOCKED_CHANNELS; channel++) {
                to[channel] = (real_t)whole[j][channel];
            }
        }
    }
}

static void
GCAM_FN(blocked_winograd_pack)(const gcam_winograd_pack_geom *g, const real_t *w, real_t *u, void *scratch, int worker,
                               int workers)
{
    (void)scratch;
    const ptrdiff_t tiles = GCAM_FN(winograd_row_tiles)(g->rows);
    const ptrdiff_t columns = g->column_blocks * GCAM_BLOCK, plane = tiles * columns * BLOCKED_CHANNELS;
    ptrdiff_t begin, end;
    gcam_share(tiles * columns, worker, workers, &begin, &end);
    for (ptrdiff_t item = begin; item < end; item++) {
        GCAM_FN(winograd_pack_column)(g, w, item / columns * BLOCKED_CHANNELS, item % columns,
                                      u + item * BLOCKED_CHANNELS, plane);
    }
}

/* --- patches */

typedef struct {
    ptrdiff_t picture, row, column;
} GCAM_FN(winograd_place);

static GCAM_FN(winograd_place) GCAM_FN(winograd_place_of)(const gcam_winograd_geom *g, ptrdiff_t tile)
{
    const ptrdiff_t row = tile / g->tile_columns;
    return (GCAM_FN(winograd_place)){row / g->tile_rows, row % g->tile_rows, tile % g->tile_columns};
}

GCAM_INLINE void
GCAM_FN(winograd_next)(const gcam_winograd_geom *g, GCAM_FN(winograd_place) * at)
{
    if (++at->column == g->tile_columns) {
        at->column = 0;
        if (++at->row == g->tile_rows) {
            at->row = 0;
            at->picture++;
        }
    }
}

/* B^T d on six vectors `step` apart, in place: point p has the coefficients of the product of x - q over the other
 * finite points q, infinity those of the product over all of them. */
GCAM_INLINE void
GCAM_FN(winograd_in)(vreal *d, const int step)
{
    const real_t a = (real_t)GCAM_WINOGRAD_NEAR, b = (real_t)GCAM_WINOGRAD_FAR;
    const vreal product = V(set1)(a * a * b * b), less_sum = V(set1)(-a * a - b * b);
    const vreal less_aa = V(set1)(-a * a), less_bb = V(set1)(-b * b);
    const vreal d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const vreal even_a = V(fma)(less_bb, d2, d4), odd_a = V(mul)(V(set1)(a), V(fma)(less_bb, d1, d3));
    const vreal even_b = V(fma)(less_aa, d2, d4), odd_b = V(mul)(V(set1)(b), V(fma)(less_aa, d1, d3));
    d[0] = V(fma)(product, d0, V(fma)(less_sum, d2, d4));
    d[step] = V(add)(even_a, odd_a);
    d[2 * step] = V(sub)(even_a, odd_a);
    d[3 * step] = V(add)(even_b, odd_b);
    d[4 * step] = V(sub)(even_b, odd_b);
    d[5 * step] = V(fma)(product, d1, V(fma)(less_sum, d3, d5));
}

/* B^T d B of one patch. Spare lanes may hold numbers that overflow: `keep` (if masked) is 0 there, else 1. */
GCAM_INLINE void
GCAM_FN(winograd_patch)(const int masked, const vreal keep, const real_t *x, ptrdiff_t row, real_t *v, ptrdiff_t plane)
{
    vreal d[GCAM_WINOGRAD_POINTS];
#pragma GCC unroll 6
    for (int i = 0; i < GCAM_WINOGRAD_PATCH; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < GCAM_WINOGRAD_TILE; j++) {
            __builtin_prefetch(x + i * row + (WINOGRAD_AHEAD + j) * GCAM_BLOCK);
        }
    }
#pragma GCC unroll 6
    for (int j = 0; j < GCAM_WINOGRAD_PATCH; j++) {
#pragma GCC unroll 6
        for (int i = 0; i < GCAM_WINOGRAD_PATCH; i++) {
            const vreal value = V(load)(x + i * row + j * GCAM_BLOCK);
            d[i * GCAM_WINOGRAD_PATCH + j] = masked ? V(mul)(keep, value) : value;
        }
        GCAM_FN(winograd_in)(d + j, GCAM_WINOGRAD_PATCH);
    }
#pragma GCC unroll 6
    for (int i = 0; i < GCAM_WINOGRAD_PATCH; i++) {
        GCAM_FN(winograd_in)(d + i * GCAM_WINOGRAD_PATCH, 1);
#pragma GCC unroll 6
        for (int j = 0; j < GCAM_WINOGRAD_PATCH; j++) {
            V(store)(v + (i * GCAM_WINOGRAD_PATCH + j) * plane, d[i * GCAM_WINOGRAD_PATCH + j]);
        }
    }
}

/* Patches of one vector of channels; `masked` is a constant once inlined. */
GCAM_INLINE void
GCAM_FN(winograd_read_lanes)(const int masked, const vreal keep, const gcam_winograd_geom *g, const real_t *x,
                             ptrdiff_t first, ptrdiff_t count, real_t *v)
{
    GCAM_FN(winograd_place) at = GCAM_FN(winograd_place_of)(g, first);
    for (ptrdiff_t t = 0; t < count; t++) {
        const real_t *patch = x + at.picture * g->x.picture + at.row * GCAM_WINOGRAD_TILE * g->x.row
                              + at.column * GCAM_WINOGRAD_TILE * GCAM_BLOCK;
        GCAM_FN(winograd_patch)(masked, keep, patch, g->x.row, v + t * GCAM_BLOCK, g->in_plane);
        GCAM_FN(winograd_next)(g, &at);
    }
}

/* v [36][input block][tile][16] from `count` patches. */
static void
GCAM_FN(winograd_read)(const gcam_winograd_geom *g, const real_t *x, ptrdiff_t first, ptrdiff_t count, real_t *v)
{
    for (ptrdiff_t channel = 0; channel < g->x.blocks * GCAM_BLOCK; channel += VLANES) {
        const ptrdiff_t block = channel / GCAM_BLOCK, lane = channel % GCAM_BLOCK, left = g->x.c - channel;
        const real_t *from = x + block * g->x.plane + g->corner + lane;
        real_t *to = v + block * count * GCAM_BLOCK + lane;
        vreal keep = {0};
        if (left >= VLANES) {
            GCAM_FN(winograd_read_lanes)(0, keep, g, from, first, count, to);
        } else {
            for (ptrdiff_t i = 0; i < left; i++) {
                keep[i] = 1;
            }
            GCAM_FN(winograd_read_lanes)(1, keep, g, from, first, count, to);
        }
    }
}

/* --- products */

/* How many of `left` tiles the next register tile takes: as many as it has room for, but no small rest. */
static ptrdiff_t
GCAM_FN(winograd_tiles)(ptrdiff_t left)
{
    const ptrdiff_t most = GCAM_TILE_RUNS * BLOCKED_COLUMNS;
    if (left >= most + most / 2) {
        return most;
    }
    return left > most ? (left + 1) / 2 : left;
}

/* All tiles of a block against one panel of weights: m [output block][tile][16] for one point and one tile of output
 * channels. The parts of the input channels have sums of their own, which are added up. */
static void
GCAM_FN(winograd_panel)(const gcam_tile_geom *geom, gcam_tile_part part, const real_t *v, const real_t *u,
                        ptrdiff_t blocks, ptrdiff_t count, real_t *m)
{
    const int parts = (int)((blocks + GCAM_WINOGRAD_CHAIN - 1) / GCAM_WINOGRAD_CHAIN);
    for (int c = 0; c < parts; c++) {
        ptrdiff_t first, last;
        gcam_share(blocks, c, parts, &first, &last);
        part.in_blocks = last - first;
        part.adds = c > 0;
        GCAM_FN(tile_place) at = {.weights = u + first * GCAM_BLOCK * BLOCKED_CHANNELS};
        const real_t *in = v + first * geom->in_block;
        for (ptrdiff_t begin = 0, end; begin < count; begin = end) {
            end = begin + GCAM_FN(winograd_tiles)(count - begin);
            const ptrdiff_t runs = end - begin > BLOCKED_COLUMNS ? GCAM_TILE_RUNS : 1;
            const ptrdiff_t columns = (end - begin + runs - 1) / runs; /* of an odd part the runs share a pixel */
            at.in[0] = in + begin * GCAM_BLOCK;
            at.in[1] = in + (end - columns) * GCAM_BLOCK;
            at.out[0] = m + begin * GCAM_BLOCK;
            at.out[1] = m + (end - columns) * GCAM_BLOCK;
            GCAM_FN(tile)(runs, columns, part.out_blocks, GCAM_BLOCK)(geom, &part, &at);
        }
    }
}

/* m [36][output block][tile][16] = u v, for `channels` tiles of output channels from `channel` on. */
static void
GCAM_FN(winograd_multiply)(const gcam_winograd_geom *g, const real_t *v, const real_t *u, ptrdiff_t channel,
                           ptrdiff_t channels, ptrdiff_t count, real_t *m)
{
    static const ptrdiff_t origin = 0;
    const ptrdiff_t panel = g->x.blocks * GCAM_BLOCK * BLOCKED_CHANNELS;
    const ptrdiff_t tiles = GCAM_FN(winograd_row_tiles)(g->y.c);
    const gcam_tile_geom geom = {.in_pixel = GCAM_BLOCK,
                                 .in_block = count * GCAM_BLOCK,
                                 .taps = &origin,
                                 .tap_count = 1,
                                 .out_pixel = GCAM_BLOCK,
                                 .out_block = count * GCAM_BLOCK,
                                 .epilogue = &g->epilogue};
    for (ptrdiff_t point = 0; point < GCAM_WINOGRAD_POINTS; point++) {
        for (ptrdiff_t i = 0; i < channels; i++) {
            const ptrdiff_t left = g->y.blocks - (channel + i) * WINOGRAD_CHANNEL_BLOCKS;
            const gcam_tile_part part = {.begins = 1,
                                         .out_blocks = left < WINOGRAD_CHANNEL_BLOCKS ? left : WINOGRAD_CHANNEL_BLOCKS};
            GCAM_FN(winograd_panel)(&geom, part, v + point * g->in_plane, u + (point * tiles + channel + i) * panel,
                                    g->x.blocks, count, m + point * g->out_plane + i * BLOCKED_CHANNELS * count);
        }
    }
}

/* --- outputs */

/* A^T m of six vectors, `step` apart: sum i takes the i-th power of each point, the last one infinity too. */
GCAM_INLINE void
GCAM_FN(winograd_out)(const vreal m[GCAM_WINOGRAD_PATCH], vreal *y, const int step)
{
    const real_t a = (real_t)GCAM_WINOGRAD_NEAR, b = (real_t)GCAM_WINOGRAD_FAR;
    const vreal even_a = V(add)(m[1], m[2]), odd_a = V(sub)(m[1], m[2]);
    const vreal even_b = V(add)(m[3], m[4]), odd_b = V(sub)(m[3], m[4]);
    y[0] = V(add)(V(add)(m[0], even_a), even_b);
    y[step] = V(fma)(V(set1)(b), odd_b, V(mul)(V(set1)(a), odd_a));
    y[2 * step] = V(fma)(V(set1)(b * b), even_b, V(mul)(V(set1)(a * a), even_a));
    y[3 * step] = V(fma)(V(set1)(b * b * b), odd_b, V(fma)(V(set1)(a * a * a), odd_a, m[5]));
}

typedef struct {
    const real_t *m, *residual; /* residual NULL: none */
    real_t *y;
    ptrdiff_t rows, columns; /* of the tile that exist */
} GCAM_FN(winograd_target);

/* A^T m A of one tile, bias, residual, ReLU. */
GCAM_INLINE void
GCAM_FN(winograd_store)(const gcam_winograd_geom *g, const GCAM_FN(winograd_target) * at, const vreal bias)
{
    vreal half[GCAM_WINOGRAD_TILE * GCAM_WINOGRAD_PATCH];
#pragma GCC unroll 6
    for (int j = 0; j < GCAM_WINOGRAD_PATCH; j++) {
        vreal m[GCAM_WINOGRAD_PATCH];
#pragma GCC unroll 6
        for (int i = 0; i < GCAM_WINOGRAD_PATCH; i++) {
            m[i] = V(load)(at->m + (i * GCAM_WINOGRAD_PATCH + j) * g->out_plane);
        }
        GCAM_FN(winograd_out)(m, half + j, GCAM_WINOGRAD_PATCH);
    }
    const int relu = g->epilogue.op == GCAM_UNARY_RELU;
#pragma GCC unroll 4
    for (int i = 0; i < GCAM_WINOGRAD_TILE; i++) {
        if (i >= at->rows) {
            break;
        }
        vreal sum[GCAM_WINOGRAD_TILE];
        GCAM_FN(winograd_out)(half + i * GCAM_WINOGRAD_PATCH, sum, 1);
#pragma GCC unroll 4
        for (int j = 0; j < GCAM_WINOGRAD_TILE; j++) {
            if (j >= at->columns) {
                break;
            }
            vreal y = V(add)(sum[j], bias);
            if (at->residual != NULL) {
                y = V(add)(y, V(load)(at->residual + i * g->epilogue.residual.row + j * GCAM_BLOCK));
            }
            V(store)(at->y + i * g->y.row + j * GCAM_BLOCK, relu ? V(relu)(y) : y);
        }
    }
}

/* Elements of t before tile (row, column) of a block. */
GCAM_INLINE ptrdiff_t
GCAM_FN(winograd_offset)(const gcam_blocked *t, ptrdiff_t block, const GCAM_FN(winograd_place) * at)
{
    return t->origin + at->picture * t->picture + block * t->plane + at->row * GCAM_WINOGRAD_TILE * t->row
           + at->column * GCAM_WINOGRAD_TILE * GCAM_BLOCK;
}

/* One output block of `count` tiles; m is that block's part of the products. */
static void
GCAM_FN(winograd_write)(const gcam_winograd_geom *g, const real_t *m, const real_t *bias, const real_t *residual,
                        real_t *y, ptrdiff_t block, ptrdiff_t first, ptrdiff_t count)
{
    const gcam_epilogue *e = &g->epilogue;
    for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
        const ptrdiff_t channel = block * GCAM_BLOCK + lane, left = g->y.c - channel;
        vreal shift = {0};
        if (bias != NULL && left > 0) {
            shift = left < VLANES ? V(load_n)(bias + channel, left) : V(load)(bias + channel);
        }
        GCAM_FN(winograd_place) place = GCAM_FN(winograd_place_of)(g, first);
        for (ptrdiff_t t = 0; t < count; t++) {
            const ptrdiff_t rows = g->y.h - place.row * GCAM_WINOGRAD_TILE;
            const ptrdiff_t columns = g->y.w - place.column * GCAM_WINOGRAD_TILE;
            real_t *out = y + GCAM_FN(winograd_offset)(&g->y, block, &place);
            const real_t *r =
                residual == NULL ? NULL : residual + GCAM_FN(winograd_offset)(&e->residual, block, &place) + lane;
            const GCAM_FN(winograd_target) at = {m + t * GCAM_BLOCK + lane, r, out + lane, rows, columns};
            GCAM_FN(winograd_store)(g, &at, shift);
            GCAM_FN(winograd_next)(g, &place);
        }
    }
}

/* Activations other than ReLU, over one output block of tiles that have just been stored. */
static void
GCAM_FN(winograd_activate)(const gcam_winograd_geom *g, real_t *y, ptrdiff_t block, ptrdiff_t first, ptrdiff_t count)
{
    GCAM_FN(winograd_place) place = GCAM_FN(winograd_place_of)(g, first);
    for (ptrdiff_t t = 0; t < count; t++) {
        const ptrdiff_t rows = g->y.h - place.row * GCAM_WINOGRAD_TILE;
        const ptrdiff_t columns = g->y.w - place.column * GCAM_WINOGRAD_TILE;
        real_t *out = y + GCAM_FN(winograd_offset)(&g->y, block, &place);
        for (ptrdiff_t i = 0; i < GCAM_WINOGRAD_TILE && i < rows; i++) {
            GCAM_FN(blocked_finish)(&g->epilogue, NULL, out + i * g->y.row,
                                    (columns < GCAM_WINOGRAD_TILE ? columns : GCAM_WINOGRAD_TILE) * GCAM_BLOCK);
        }
        GCAM_FN(winograd_next)(g, &place);
    }
}

static void
GCAM_FN(blocked_winograd_output)(const gcam_winograd_geom *g, const real_t *x, const real_t *u, const real_t *bias,
                                 const real_t *residual, real_t *y, void *scratch, int worker, int workers)
{
    ptrdiff_t begin, end;
    gcam_share(g->y.n * g->y.blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(&g->y, y, begin, end);
    const ptrdiff_t channel_tiles = (g->y.blocks + WINOGRAD_CHANNEL_BLOCKS - 1) / WINOGRAD_CHANNEL_BLOCKS;
    const ptrdiff_t group = g->group / WINOGRAD_CHANNEL_BLOCKS;
    const gcam_winograd_share share = gcam_winograd_part(g, channel_tiles, WINOGRAD_CHANNEL_BLOCKS, worker, workers);
    const int activates = g->epilogue.op != -1 && g->epilogue.op != GCAM_UNARY_RELU;
    real_t *v = scratch, *m = v + GCAM_WINOGRAD_POINTS * g->in_plane;
    const ptrdiff_t tiles = share.last - share.first;
    const int blocks = (int)((tiles + g->block - 1) / g->block);
    for (int b = 0; b < blocks && share.channel_first < share.channel_last; b++) {
        gcam_share(tiles, b, blocks, &begin, &end);
        const ptrdiff_t first = share.first + begin, count = end - begin;
        GCAM_FN(winograd_read)(g, x, first, count, v);
        for (ptrdiff_t c = share.channel_first; c < share.channel_last; c += group) {
            const ptrdiff_t channels = share.channel_last - c < group ? share.channel_last - c : group;
            GCAM_FN(winograd_multiply)(g, v, u, c, channels, count, m);
            const ptrdiff_t block0 = c * WINOGRAD_CHANNEL_BLOCKS, left = g->y.blocks - block0;
            for (ptrdiff_t i = 0; i < channels * WINOGRAD_CHANNEL_BLOCKS && i < left; i++) {
                GCAM_FN(winograd_write)(g, m + i * count * GCAM_BLOCK, bias, residual, y, block0 + i, first, count);
                if (activates) {
                    GCAM_FN(winograd_activate)(g, y, block0 + i, first, count);
                }
            }
        }
    }
}
