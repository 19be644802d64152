/* Kernels of blocked/linear.h. */

static void
GCAM_FN(linear_pack)(const gcam_linear_geom *g, const real_t *w, real_t *packed, void *scratch, int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t row = g->transposed ? 1 : g->m, column = g->transposed ? g->k : 1;
    ptrdiff_t begin, end;
    gcam_share((g->m - 1) / BLOCKED_CHANNELS + 1, worker, workers, &begin, &end);
    for (ptrdiff_t tile = begin; tile < end; tile++) {
        real_t *place = packed + tile * g->k * BLOCKED_CHANNELS;
        for (ptrdiff_t k = 0; k < g->k; k++) {
            for (ptrdiff_t m = tile * BLOCKED_CHANNELS; m < (tile + 1) * BLOCKED_CHANNELS; m++) {
                *place++ = m < g->m ? w[k * row + m * column] : 0;
            }
        }
    }
}

#define LINEAR_TILE_BLOCKS (BLOCKED_CHANNELS / GCAM_BLOCK)

/* Pixels of the next register tile of `left` rows: whole tiles, and no tile of a single row where that can be helped,
 * since its few sums would wait for each other. */
static void
GCAM_FN(linear_tile)(ptrdiff_t left, ptrdiff_t *runs, ptrdiff_t *columns)
{
    const ptrdiff_t full = BLOCKED_COLUMNS;
    *runs = left > full ? GCAM_TILE_RUNS : 1;
    if (left <= full) {
        *columns = left;
    } else if (left < 2 * full && left % 2 == 1) {
        *columns = (left - full) / 2;
    } else if (left < 2 * full) {
        *columns = left / 2;
    } else if (left > 2 * full && left <= 3 * full) {
        *columns = (left + 3) / 4;
    } else {
        *columns = full;
    }
    if (*columns == 0) { /* one pixel more than a run */
        *runs = 1;
        *columns = full;
    }
}

/* What a worker computes: rows and tiles of outputs, cut such that the largest part is small and, of such cuts, weights
 * are read by few. */
typedef struct {
    ptrdiff_t row, row_end, tile, tile_end;
} GCAM_FN(linear_share);

static GCAM_FN(linear_share) GCAM_FN(linear_share_of)(const gcam_linear_geom *g, int worker, int workers)
{
    const ptrdiff_t unit = GCAM_TILE_RUNS * BLOCKED_COLUMNS, units = (g->rows - 1) / unit + 1;
    const ptrdiff_t tiles = (g->m - 1) / BLOCKED_CHANNELS + 1;
    int parts = 1; /* of the rows */
    ptrdiff_t least = PTRDIFF_MAX;
    for (int p = 1; p <= workers; p++) {
        const ptrdiff_t others = workers / p, largest = ((units - 1) / p + 1) * ((tiles - 1) / others + 1);
        if (workers % p == 0 && largest < least) {
            least = largest;
            parts = p;
        }
    }
    GCAM_FN(linear_share) share;
    gcam_share(units, worker % parts, parts, &share.row, &share.row_end);
    gcam_share(tiles, worker / parts, workers / parts, &share.tile, &share.tile_end);
    share.row *= unit;
    share.row_end = share.row_end * unit < g->rows ? share.row_end * unit : g->rows;
    return share;
}

/* `rows` rows of `blocks` blocks of GCAM_BLOCK numbers, from one place to another with other strides of rows and
 * blocks. */
GCAM_INLINE void
GCAM_FN(linear_move)(const real_t *from, ptrdiff_t from_row, ptrdiff_t from_block, real_t *to, ptrdiff_t to_row,
                     ptrdiff_t to_block, ptrdiff_t rows, ptrdiff_t blocks)
{
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t b = 0; b < blocks; b++) {
            const real_t *source = from + i * from_row + b * from_block;
            real_t *target = to + i * to_row + b * to_block;
#pragma GCC unroll 8
            for (int v = 0; v < BLOCK_VECTORS; v++) {
                V(store)(target + v * VLANES, V(load)(source + v * VLANES));
            }
        }
    }
}

/* `rows` rows of one tile of outputs, in register tiles; `at` lies at the first. */
static void
GCAM_FN(linear_rows)(const gcam_tile_geom *geom, const gcam_tile_part *part, const GCAM_FN(tile_place) * at,
                     ptrdiff_t rows)
{
    ptrdiff_t runs, columns;
    for (ptrdiff_t row = 0; row < rows; row += runs * columns) {
        GCAM_FN(linear_tile)(rows - row, &runs, &columns);
        GCAM_FN(tile_place) place = *at;
        for (ptrdiff_t r = 0; r < runs; r++) {
            const ptrdiff_t first = row + r * columns;
            place.in[r] += first * GCAM_BLOCK;
            place.out[r] += first * GCAM_BLOCK;
            place.residual[r] = place.residual[r] == NULL ? NULL : place.residual[r] + first * geom->residual_pixel;
        }
        GCAM_FN(tile)(runs, columns, part->out_blocks, GCAM_BLOCK)(geom, part, &place);
    }
}

static void
GCAM_FN(linear_output)(const gcam_linear_geom *g, const real_t *x, const real_t *packed, const real_t *bias,
                       const real_t *residual, real_t *y, void *scratch, int worker, int workers)
{
    static const ptrdiff_t origin = 0;
    /* Tiles do what costs nothing in registers; other functions run over all rows of a tile of outputs. */
    const bool late = !GCAM_FN(blocked_fits_registers)(&g->epilogue);
    gcam_epilogue early = g->epilogue;
    early.op = late ? -1 : early.op;
    const gcam_tile_geom geom = {.in_pixel = GCAM_BLOCK,
                                 .in_block = g->line,
                                 .taps = &origin,
                                 .tap_count = 1,
                                 .out_pixel = GCAM_BLOCK,
                                 .out_block = g->line,
                                 .residual_pixel = g->m,
                                 .residual_block = GCAM_BLOCK,
                                 .epilogue = &early};
    const GCAM_FN(linear_share) share = GCAM_FN(linear_share_of)(g, worker, workers);
    const ptrdiff_t blocks = g->k / GCAM_BLOCK, out_blocks = g->m / GCAM_BLOCK;
    real_t *rows = scratch, *sums = rows + g->depth * g->line;
    for (ptrdiff_t row = share.row; row < share.row_end; row += g->block_rows) {
        const ptrdiff_t count = share.row_end - row < g->block_rows ? share.row_end - row : g->block_rows;
        for (ptrdiff_t block = 0; block < blocks; block += g->depth) {
            const ptrdiff_t depth = blocks - block < g->depth ? blocks - block : g->depth;
            GCAM_FN(linear_move)(x + row * g->k + block * GCAM_BLOCK, g->k, GCAM_BLOCK, rows, GCAM_BLOCK, g->line,
                                 count, depth);
            ptrdiff_t whole = share.tile; /* tiles before it are back in rows */
            for (ptrdiff_t tile = share.tile; tile < share.tile_end; tile++) {
                const ptrdiff_t first = tile * LINEAR_TILE_BLOCKS, m = tile * BLOCKED_CHANNELS;
                const ptrdiff_t left =
                    out_blocks - first < LINEAR_TILE_BLOCKS ? out_blocks - first : LINEAR_TILE_BLOCKS;
                const gcam_tile_part part = {.begins = block == 0,
                                             .ends = block + depth == blocks,
                                             .in_blocks = depth,
                                             .out_blocks = left,
                                             .bias_length = g->m - m};
                const real_t *beside = residual == NULL ? NULL : residual + row * g->m + m;
                real_t *place = sums + (tile - share.tile) % g->kept * LINEAR_TILE_BLOCKS * g->line;
                const GCAM_FN(tile_place)
                    at = {.in = {rows, rows},
                          .out = {place, place},
                          .residual = {beside, beside},
                          .weights = packed + (tile * g->k + block * GCAM_BLOCK) * BLOCKED_CHANNELS,
                          .bias = bias == NULL ? NULL : bias + m};
                GCAM_FN(linear_rows)(&geom, &part, &at, count);
                for (ptrdiff_t b = 0; b < left && part.ends && late; b++) {
                    GCAM_FN(blocked_finish)(&g->epilogue, NULL, place + b * g->line, count * GCAM_BLOCK);
                }
                if (part.ends && (tile + 1 - whole == LINEAR_TILES || tile + 1 == share.tile_end)) {
                    const ptrdiff_t begin = whole * LINEAR_TILE_BLOCKS;
                    GCAM_FN(linear_move)(sums + (whole - share.tile) % g->kept * LINEAR_TILE_BLOCKS * g->line,
                                         GCAM_BLOCK, g->line, y + row * g->m + begin * GCAM_BLOCK, g->m, GCAM_BLOCK,
                                         count, first + left - begin);
                    whole = tile + 1;
                }
            }
        }
    }
}
#undef LINEAR_TILE_BLOCKS
