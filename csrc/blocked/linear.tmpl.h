/* Kernels of blocked/linear.h. */

/* Bytes of one tile's weights that stay close while rows pass, and rows that pass before the next weights: their part
 * of x then stays in the second-level cache. */
#define LINEAR_WEIGHT_BYTES (72 * 1024)
#define LINEAR_ROWS 224

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

/* Rows [row, end) of one tile of outputs, in register tiles; `at` lies at row 0. */
static void
GCAM_FN(linear_rows)(const gcam_tile_geom *geom, const gcam_tile_part *part, const GCAM_FN(tile_place) * at,
                     ptrdiff_t row, ptrdiff_t end)
{
    while (row < end) {
        const ptrdiff_t left = end - row, runs = left > 1 ? GCAM_TILE_RUNS : 1;
        const ptrdiff_t columns = left / runs < BLOCKED_COLUMNS ? left / runs : BLOCKED_COLUMNS;
        GCAM_FN(tile_place) place = *at;
        for (ptrdiff_t r = 0; r < runs; r++) {
            const ptrdiff_t first = row + r * columns;
            place.in[r] += first * geom->in_pixel;
            place.out[r] += first * geom->out_pixel;
            place.residual[r] = place.residual[r] == NULL ? NULL : place.residual[r] + first * geom->residual_pixel;
        }
        GCAM_FN(tile)(runs, columns, part->out_blocks, geom->in_pixel)(geom, part, &place);
        row += runs * columns;
    }
}

static void
GCAM_FN(linear_output)(const gcam_linear_geom *g, const real_t *x, const real_t *packed, const real_t *bias,
                       const real_t *residual, real_t *y, void *scratch, int worker, int workers)
{
    (void)scratch;
    static const ptrdiff_t origin = 0;
    const gcam_tile_geom geom = {.in_pixel = g->k,
                                 .in_block = GCAM_BLOCK,
                                 .taps = &origin,
                                 .tap_count = 1,
                                 .out_pixel = g->m,
                                 .out_block = GCAM_BLOCK,
                                 .residual_pixel = g->m,
                                 .residual_block = GCAM_BLOCK,
                                 .epilogue = &g->epilogue};
    const ptrdiff_t blocks = g->k / GCAM_BLOCK, tile_blocks = BLOCKED_CHANNELS / GCAM_BLOCK;
    const ptrdiff_t depth = LINEAR_WEIGHT_BYTES / (ptrdiff_t)sizeof(real_t) / BLOCKED_CHANNELS / GCAM_BLOCK;
    ptrdiff_t begin, end;
    gcam_share((g->m - 1) / BLOCKED_CHANNELS + 1, worker, workers, &begin, &end);
    for (ptrdiff_t row = 0; row < g->rows; row += LINEAR_ROWS) {
        const ptrdiff_t row_end = g->rows - row < LINEAR_ROWS ? g->rows : row + LINEAR_ROWS;
        for (ptrdiff_t block = 0; block < blocks; block += depth) {
            for (ptrdiff_t tile = begin; tile < end; tile++) {
                const ptrdiff_t m = tile * BLOCKED_CHANNELS, left = g->m / GCAM_BLOCK - tile * tile_blocks;
                const gcam_tile_part part = {.begins = block == 0,
                                             .ends = block + depth >= blocks,
                                             .in_blocks = blocks - block < depth ? blocks - block : depth,
                                             .out_blocks = left < tile_blocks ? left : tile_blocks,
                                             .bias_length = g->m - m};
                const real_t *from = x + block * GCAM_BLOCK, *beside = residual == NULL ? NULL : residual + m;
                const GCAM_FN(tile_place)
                    at = {.in = {from, from},
                          .out = {y + m, y + m},
                          .residual = {beside, beside},
                          .weights = packed + (tile * g->k + block * GCAM_BLOCK) * BLOCKED_CHANNELS,
                          .bias = bias == NULL ? NULL : bias + m};
                GCAM_FN(linear_rows)(&geom, &part, &at, row, row_end);
            }
        }
    }
}
#undef LINEAR_WEIGHT_BYTES
#undef LINEAR_ROWS
