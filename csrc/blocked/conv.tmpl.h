/* Kernels of blocked/conv.h. */

/* Bytes of weights that stay close while a block of rows passes, and of the rows that they pass. */
#define BLOCKED_CONV_WEIGHT_BYTES (72 * 1024)
#define BLOCKED_CONV_SOURCE_BYTES (350 * 1000)

/* Weight of result channel `to` and source channel `from` of a packed group; 0 between merged groups and beyond. */
static real_t
GCAM_FN(blocked_conv_weight)(const gcam_blocked_conv_geom *g, const real_t *w, ptrdiff_t group, ptrdiff_t to,
                             ptrdiff_t from, ptrdiff_t tap)
{
    const ptrdiff_t in = g->source.c / g->groups, out = g->result.c / g->groups;
    const ptrdiff_t member = to / out, taps = g->window.kernel[0] * g->window.kernel[1];
    if (member >= g->merged || from / in != member) {
        return 0;
    }
    const ptrdiff_t whole = group * g->merged + member, t = to % out, f = from % in;
    return g->gradient ? w[((whole * in + f) * out + t) * taps + tap] : w[((whole * out + t) * in + f) * taps + tap];
}

static void
GCAM_FN(blocked_conv_pack)(const gcam_blocked_conv_geom *g, const real_t *w, real_t *packed, void *scratch, int worker,
                           int workers)
{
    (void)scratch;
    const ptrdiff_t depth = g->source_blocks * GCAM_BLOCK * BLOCKED_CHANNELS; /* of one tap */
    ptrdiff_t begin, end;
    gcam_share(g->group_count * g->tiles, worker, workers, &begin, &end);
    for (ptrdiff_t number = 0; number < g->classes[0] * g->classes[1]; number++) {
        const gcam_conv_class rows = gcam_blocked_conv_class(g, 0, number / g->classes[1]);
        const gcam_conv_class columns = gcam_blocked_conv_class(g, 1, number % g->classes[1]);
        const ptrdiff_t taps = rows.taps * columns.taps;
        for (ptrdiff_t item = begin; item < end; item++) {
            real_t *place = packed + item * taps * depth;
            for (ptrdiff_t block = 0; block < g->source_blocks; block++) {
                for (ptrdiff_t t = 0; t < taps; t++) {
                    const ptrdiff_t row = rows.first_tap + t / columns.taps * rows.tap_step;
                    const ptrdiff_t tap =
                        row * g->window.kernel[1] + columns.first_tap + t % columns.taps * columns.tap_step;
                    for (ptrdiff_t k = 0; k < GCAM_BLOCK; k++) {
                        for (ptrdiff_t c = 0; c < BLOCKED_CHANNELS; c++) {
                            *place++ = GCAM_FN(blocked_conv_weight)(g, w, item / g->tiles,
                                                                    item % g->tiles * BLOCKED_CHANNELS + c,
                                                                    block * GCAM_BLOCK + k, tap);
                        }
                    }
                }
            }
        }
        packed += g->group_count * g->tiles * taps * depth;
    }
}

/* A part of one class: rows [row, row_end) of one tile of output channels, for the input blocks of `part`. */
typedef struct {
    const gcam_blocked_conv_geom *g;
    gcam_conv_class rows, columns;
    gcam_tile_geom tile;
    const real_t *source, *residual; /* at pixel (0, 0) of the class, first tap */
    real_t *result;
    const real_t *weights, *bias;
} GCAM_FN(blocked_conv_work);

static void
GCAM_FN(blocked_conv_rows)(const GCAM_FN(blocked_conv_work) * work, const gcam_tile_part *part, ptrdiff_t row,
                           ptrdiff_t row_end)
{
    const gcam_blocked_conv_geom *g = work->g;
    const ptrdiff_t in_row = work->rows.jump * g->source.row, out_row = work->rows.step * g->result.row;
    const ptrdiff_t residual_row = work->rows.step * g->epilogue.residual.row, width = work->columns.count;
    const ptrdiff_t pieces = (width + BLOCKED_COLUMNS - 1) / BLOCKED_COLUMNS;
    for (; row < row_end; row += GCAM_TILE_RUNS) {
        const ptrdiff_t runs = row_end - row < GCAM_TILE_RUNS ? row_end - row : GCAM_TILE_RUNS;
        for (ptrdiff_t i = 0, x = 0; i < pieces; i++) {
            const ptrdiff_t columns = width / pieces + (i < width % pieces);
            GCAM_FN(tile_place) at = {.weights = work->weights, .bias = work->bias};
            for (ptrdiff_t r = 0; r < runs; r++) {
                at.in[r] = work->source + (row + r) * in_row + x * work->tile.in_pixel;
                at.out[r] = work->result + (row + r) * out_row + x * work->tile.out_pixel;
                at.residual[r] = work->residual == NULL
                                     ? NULL
                                     : work->residual + (row + r) * residual_row + x * work->tile.residual_pixel;
            }
            GCAM_FN(tile)(runs, columns, part->out_blocks, work->tile.in_pixel)(&work->tile, part, &at);
            x += columns;
        }
    }
}

/* Rows [row, row_end) for the tiles [begin, end) of all groups of one picture and class: rows in blocks that stay in
 * the second-level cache, weights in blocks that stay close. */
static void
GCAM_FN(blocked_conv_block)(const GCAM_FN(blocked_conv_work) * base, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t row,
                            ptrdiff_t row_end)
{
    const gcam_blocked_conv_geom *g = base->g;
    const ptrdiff_t tile_blocks = BLOCKED_CHANNELS / GCAM_BLOCK, item = GCAM_BLOCK * BLOCKED_CHANNELS;
    const ptrdiff_t weight_bytes = base->tile.tap_count * item * (ptrdiff_t)sizeof(real_t);
    const ptrdiff_t depth =
        weight_bytes < BLOCKED_CONV_WEIGHT_BYTES && weight_bytes > 0 ? BLOCKED_CONV_WEIGHT_BYTES / weight_bytes : 1;
    const ptrdiff_t row_bytes = g->source_blocks * g->source.row * base->rows.jump * (ptrdiff_t)sizeof(real_t);
    ptrdiff_t height = BLOCKED_CONV_SOURCE_BYTES / row_bytes / GCAM_TILE_RUNS * GCAM_TILE_RUNS;
    height = height < GCAM_TILE_RUNS ? GCAM_TILE_RUNS : height;
    for (; row < row_end; row += height) {
        const ptrdiff_t stop = row_end - row < height ? row_end : row + height;
        for (ptrdiff_t i = begin; i < end; i++) {
            const ptrdiff_t group = i / g->tiles, first = i % g->tiles * tile_blocks;
            const ptrdiff_t channel = (group * g->result_blocks + first) * GCAM_BLOCK;
            GCAM_FN(blocked_conv_work) work = *base;
            work.source += group * g->source_blocks * g->source.plane;
            work.result += (group * g->result_blocks + first) * g->result.plane;
            work.bias = base->bias == NULL ? NULL : base->bias + channel;
            if (base->residual != NULL) {
                work.residual += (group * g->result_blocks + first) * g->epilogue.residual.plane;
            }
            work.weights += i * g->source_blocks * base->tile.tap_count * item;
            const ptrdiff_t left = g->result_blocks - first;
            const ptrdiff_t spare = g->group_count * g->source_blocks * GCAM_BLOCK - g->source.c;
            gcam_tile_part part = {.out_blocks = left < tile_blocks ? left : tile_blocks,
                                   .bias_length = g->result.c - channel};
            for (ptrdiff_t block = 0; block < g->source_blocks; block += depth) {
                part.in_blocks = g->source_blocks - block < depth ? g->source_blocks - block : depth;
                part.begins = block == 0;
                part.ends = block + depth >= g->source_blocks;
                part.spare = part.ends ? spare : 0;
                GCAM_FN(blocked_conv_rows)(&work, &part, row, stop);
                work.source += part.in_blocks * g->source.plane;
                work.weights += part.in_blocks * base->tile.tap_count * item;
            }
        }
    }
}

/* Shares one class of one picture out: rows while there are many, else tiles, whichever divides better. */
static void
GCAM_FN(blocked_conv_class)(const GCAM_FN(blocked_conv_work) * work, int worker, int workers)
{
    const gcam_conv_share share = gcam_blocked_conv_share(work->g, work->rows.count, worker, workers);
    GCAM_FN(blocked_conv_block)(work, share.tile, share.tile_end, share.row, share.row_end);
}

static void
GCAM_FN(blocked_conv_output)(const gcam_blocked_conv_geom *g, const real_t *source, const real_t *packed,
                             const real_t *bias, const real_t *residual, real_t *result, void *scratch, int worker,
                             int workers)
{
    ptrdiff_t *taps = scratch, begin, end;
    gcam_share(g->result.n * g->result.blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(&g->result, result, begin, end);
    for (ptrdiff_t number = 0; number < g->classes[0] * g->classes[1]; number++) {
        GCAM_FN(blocked_conv_work) work = {.g = g, .weights = packed, .bias = bias};
        work.rows = gcam_blocked_conv_class(g, 0, number / g->classes[1]);
        work.columns = gcam_blocked_conv_class(g, 1, number % g->classes[1]);
        const ptrdiff_t count = work.rows.taps * work.columns.taps;
        for (ptrdiff_t t = 0; t < count; t++) {
            taps[t] = t / work.columns.taps * work.rows.tap_offset * g->source.row
                      + t % work.columns.taps * work.columns.tap_offset * GCAM_BLOCK;
        }
        const gcam_blocked *r = &g->epilogue.residual;
        work.tile = (gcam_tile_geom){.in_pixel = work.columns.jump * GCAM_BLOCK,
                                     .in_block = g->source.plane,
                                     .taps = taps,
                                     .tap_count = count,
                                     .out_pixel = work.columns.step * GCAM_BLOCK,
                                     .out_block = g->result.plane,
                                     .residual_pixel = work.columns.step * GCAM_BLOCK,
                                     .residual_block = r->plane,
                                     .epilogue = &g->epilogue};
        for (ptrdiff_t n = 0; n < g->result.n; n++) {
            work.source = source + n * g->source.picture + g->source.origin + work.rows.offset * g->source.row
                          + work.columns.offset * GCAM_BLOCK;
            work.result = result + n * g->result.picture + g->result.origin + work.rows.first * g->result.row
                          + work.columns.first * GCAM_BLOCK;
            if (residual != NULL) {
                work.residual =
                    residual + n * r->picture + r->origin + work.rows.first * r->row + work.columns.first * GCAM_BLOCK;
            }
            GCAM_FN(blocked_conv_class)(&work, worker, workers);
        }
        packed += g->group_count * g->tiles * count * g->source_blocks * GCAM_BLOCK * BLOCKED_CHANNELS;
    }
}
#undef BLOCKED_CONV_WEIGHT_BYTES
#undef BLOCKED_CONV_SOURCE_BYTES
