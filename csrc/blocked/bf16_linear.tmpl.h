/* Linear layers of blocked/bf16.h. */

#define BF16_LINEAR_ROWS 224 /* that pass before the next weights */

static void
GCAM_FN(bf16_linear_pack)(const gcam_linear_geom *g, const real_t *w, uint16_t *packed, void *scratch, int worker,
                          int workers)
{
    (void)scratch;
    const ptrdiff_t row = g->transposed ? 1 : g->m, column = g->transposed ? g->k : 1, line = 2 * BLOCKED_CHANNELS;
    ptrdiff_t begin, end;
    gcam_share((g->m - 1) / BLOCKED_CHANNELS + 1, worker, workers, &begin, &end);
    packed += begin * g->k * BLOCKED_CHANNELS;
    for (ptrdiff_t tile = begin; tile < end; tile++) {
        for (ptrdiff_t k = 0; k < g->k; k += 2) {
            real_t values[2 * BLOCKED_CHANNELS];
            for (ptrdiff_t j = 0; j < line; j++) {
                const ptrdiff_t m = tile * BLOCKED_CHANNELS + j / 2;
                values[j] = m < g->m ? w[(k + j % 2) * row + m * column] : 0;
            }
            GCAM_FN(bf16_line)(values, packed, line);
            packed += line;
        }
    }
}

/* Rows [row, row_end) of one tile of outputs. */
static void
GCAM_FN(bf16_linear_rows)(const gcam_linear_geom *g, const gcam_tile_geom *geom, const uint16_t *x,
                          const uint16_t *packed, const real_t *bias, const void *residual, void *y, ptrdiff_t tile,
                          ptrdiff_t row, ptrdiff_t row_end)
{
    const ptrdiff_t m = tile * BLOCKED_CHANNELS, left = (g->m - m) / GCAM_BLOCK;
    const gcam_tile_part part = {
        .begins = 1,
        .ends = 1,
        .in_blocks = g->k / GCAM_BLOCK,
        .out_blocks = left < BLOCKED_CHANNELS / GCAM_BLOCK ? left : BLOCKED_CHANNELS / GCAM_BLOCK,
        .bias_length = g->m - m,
    };
    while (row < row_end) {
        const ptrdiff_t rows = row_end - row, runs = rows > 1 ? GCAM_TILE_RUNS : 1;
        const ptrdiff_t columns = rows / runs < BLOCKED_COLUMNS ? rows / runs : BLOCKED_COLUMNS;
        GCAM_FN(bf16_tile_place) at = GCAM_FN(bf16_place)(packed + m * g->k, bias == NULL ? NULL : bias + m);
        for (ptrdiff_t r = 0; r < runs; r++, row += columns) {
            at.in[r] = x + row * g->k;
            GCAM_FN(bf16_put)(&at, r, residual, row * g->m + m, g->bf16_residual != 0, y, row * g->m + m,
                              g->bf16_result != 0);
        }
        GCAM_FN(bf16_tile)(runs, columns, part.out_blocks, geom->in_pixel)(geom, &part, &at);
    }
}

static void
GCAM_FN(bf16_linear_output)(const gcam_linear_geom *g, const uint16_t *x, const uint16_t *packed, const real_t *bias,
                            const void *residual, void *y, void *scratch, int worker, int workers)
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
    ptrdiff_t begin, end;
    gcam_share((g->m - 1) / BLOCKED_CHANNELS + 1, worker, workers, &begin, &end);
    for (ptrdiff_t row = 0; row < g->rows; row += BF16_LINEAR_ROWS) {
        const ptrdiff_t row_end = g->rows - row < BF16_LINEAR_ROWS ? g->rows : row + BF16_LINEAR_ROWS;
        for (ptrdiff_t tile = begin; tile < end; tile++) {
            GCAM_FN(bf16_linear_rows)(g, &geom, x, packed, bias, residual, y, tile, row, row_end);
        }
    }
}
#undef BF16_LINEAR_ROWS
