/* Convolutions of blocked/bf16.h. */

#define BF16_CONV_SOURCE_BYTES (350 * 1000) /* of the rows that stay in the second-level cache while weights pass */

static void
GCAM_FN(bf16_conv_pack)(const gcam_blocked_conv_geom *g, const real_t *w, uint16_t *packed, void *scratch, int worker,
                        int workers)
{
    (void)scratch;
    const ptrdiff_t taps = g->window.kernel[0] * g->window.kernel[1], line = 2 * BLOCKED_CHANNELS;
    const ptrdiff_t lines = g->source_blocks * taps * (GCAM_BLOCK / 2); /* of one tile */
    ptrdiff_t begin, end;
    gcam_share(g->group_count * g->tiles, worker, workers, &begin, &end);
    for (ptrdiff_t i = begin * lines; i < end * lines; i++) {
        const ptrdiff_t item = i / lines, tap = i / (GCAM_BLOCK / 2) % taps;
        const ptrdiff_t from = i % lines / (taps * (GCAM_BLOCK / 2)) * GCAM_BLOCK + i % (GCAM_BLOCK / 2) * 2;
        real_t values[2 * BLOCKED_CHANNELS];
        for (ptrdiff_t j = 0; j < line; j++) {
            values[j] = GCAM_FN(blocked_conv_weight)(g, w, item / g->tiles, item % g->tiles * BLOCKED_CHANNELS + j / 2,
                                                     from + j % 2, tap);
        }
        GCAM_FN(bf16_line)(values, packed + i * line, line);
    }
}

/* One picture: its source at the first tap of pixel (0, 0), its residual and result as elements before pixel (0, 0). */
typedef struct {
    const gcam_blocked_conv_geom *g;
    gcam_tile_geom tile;
    const uint16_t *source, *packed;
    const real_t *bias;
    const void *residual;
    void *result;
    ptrdiff_t residual_origin, result_origin;
} GCAM_FN(bf16_conv_work);

/* Rows [row, row_end) of one tile of output channels. */
static void
GCAM_FN(bf16_conv_rows)(const GCAM_FN(bf16_conv_work) * work, ptrdiff_t item, ptrdiff_t row, ptrdiff_t row_end)
{
    const gcam_blocked_conv_geom *g = work->g;
    const ptrdiff_t group = item / g->tiles, first = item % g->tiles * (BLOCKED_CHANNELS / GCAM_BLOCK);
    const ptrdiff_t block = group * g->result_blocks + first, left = g->result_blocks - first;
    const gcam_tile_part part = {
        .begins = 1,
        .ends = 1,
        .in_blocks = g->source_blocks,
        .out_blocks = left < BLOCKED_CHANNELS / GCAM_BLOCK ? left : BLOCKED_CHANNELS / GCAM_BLOCK,
        .bias_length = g->result.c - block * GCAM_BLOCK,
    };
    const ptrdiff_t depth = g->source_blocks * work->tile.tap_count * GCAM_BLOCK * BLOCKED_CHANNELS;
    const uint16_t *source = work->source + group * g->source_blocks * g->source.plane;
    const real_t *bias = work->bias == NULL ? NULL : work->bias + block * GCAM_BLOCK;
    const ptrdiff_t in_row = g->window.stride[0] * g->source.row, width = g->result.w;
    const ptrdiff_t pieces = (width + BLOCKED_COLUMNS - 1) / BLOCKED_COLUMNS;
    for (; row < row_end; row += GCAM_TILE_RUNS) {
        const ptrdiff_t runs = row_end - row < GCAM_TILE_RUNS ? row_end - row : GCAM_TILE_RUNS;
        for (ptrdiff_t i = 0, x = 0; i < pieces; i++) {
            const ptrdiff_t columns = width / pieces + (i < width % pieces);
            GCAM_FN(bf16_tile_place) at = GCAM_FN(bf16_place)(work->packed + item * depth, bias);
            for (ptrdiff_t r = 0; r < runs; r++) {
                const gcam_blocked *beside = &g->epilogue.residual, *y = &g->result;
                at.in[r] = source + (row + r) * in_row + x * work->tile.in_pixel;
                GCAM_FN(bf16_put)(
                    &at, r, work->residual,
                    work->residual_origin + block * beside->plane + (row + r) * beside->row + x * GCAM_BLOCK,
                    g->bf16_residual != 0, work->result,
                    work->result_origin + block * y->plane + (row + r) * y->row + x * GCAM_BLOCK, g->bf16_result != 0);
            }
            GCAM_FN(bf16_tile)(runs, columns, part.out_blocks, work->tile.in_pixel)(&work->tile, &part, &at);
            x += columns;
        }
    }
}

static void
GCAM_FN(bf16_conv_output)(const gcam_blocked_conv_geom *g, const uint16_t *source, const uint16_t *packed,
                          const real_t *bias, const void *residual, void *result, void *scratch, int worker,
                          int workers)
{
    const gcam_window *window = &g->window;
    ptrdiff_t *taps = scratch;
    const ptrdiff_t tap_count = window->kernel[0] * window->kernel[1];
    for (ptrdiff_t t = 0; t < tap_count; t++) {
        taps[t] = t / window->kernel[1] * window->dilation[0] * g->source.row
                  + t % window->kernel[1] * window->dilation[1] * GCAM_BLOCK;
    }
    ptrdiff_t begin, end;
    gcam_share(g->result.n * g->result.blocks, worker, workers, &begin, &end);
    gcam_blocked_border(&g->result, result, g->bf16_result ? sizeof(uint16_t) : sizeof(real_t), begin, end);
    const gcam_blocked *beside = &g->epilogue.residual;
    GCAM_FN(bf16_conv_work)
    work = {.g = g, .packed = packed, .bias = bias, .residual = residual, .result = result};
    work.tile = (gcam_tile_geom){.in_pixel = window->stride[1] * GCAM_BLOCK,
                                 .in_block = g->source.plane,
                                 .taps = taps,
                                 .tap_count = tap_count,
                                 .out_pixel = GCAM_BLOCK,
                                 .out_block = g->result.plane,
                                 .residual_pixel = GCAM_BLOCK,
                                 .residual_block = beside->plane,
                                 .epilogue = &g->epilogue};
    const ptrdiff_t row_bytes = g->source_blocks * g->source.row * window->stride[0] * (ptrdiff_t)sizeof *source;
    const ptrdiff_t pairs = BF16_CONV_SOURCE_BYTES / row_bytes / GCAM_TILE_RUNS;
    const ptrdiff_t height = (pairs < 1 ? 1 : pairs) * GCAM_TILE_RUNS;
    const gcam_conv_share share = gcam_blocked_conv_share(g, g->result.h, worker, workers);
    for (ptrdiff_t n = 0; n < g->result.n; n++) {
        work.source = source + n * g->source.picture + g->source.origin - window->pad_lo[0] * g->source.row
                      - window->pad_lo[1] * GCAM_BLOCK;
        work.residual_origin = n * beside->picture + beside->origin;
        work.result_origin = n * g->result.picture + g->result.origin;
        for (ptrdiff_t row = share.row; row < share.row_end; row += height) {
            const ptrdiff_t stop = share.row_end - row < height ? share.row_end : row + height;
            for (ptrdiff_t item = share.tile; item < share.tile_end; item++) {
                GCAM_FN(bf16_conv_rows)(&work, item, row, stop);
            }
        }
    }
}
#undef BF16_CONV_SOURCE_BYTES
