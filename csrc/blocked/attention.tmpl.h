/* Kernels of blocked/attention.h: scores and results are products of the register tile (blocked/tile.tmpl.h), with keys
 * and values of a head packed as its weights. */

/* Where head number `head` begins in an array. */
static ptrdiff_t
GCAM_FN(attention_at)(const gcam_attention_geom *g, const gcam_attention_view *view, ptrdiff_t head)
{
    ptrdiff_t at = view->offset;
    for (ptrdiff_t i = g->batch_rank - 1; i >= 0; i--) {
        at += head % g->batch[i] * view->batch[i];
        head /= g->batch[i];
    }
    return at;
}

/* Keys as weights of the scores: [key / BLOCKED_CHANNELS][depth][BLOCKED_CHANNELS], zeros beyond both. */
static void
GCAM_FN(attention_pack_keys)(const gcam_attention_geom *g, const real_t *restrict k, real_t *restrict packed)
{
    const ptrdiff_t depth = g->depth_blocks * GCAM_BLOCK;
    for (ptrdiff_t first = 0; first < g->keys; first += BLOCKED_CHANNELS, packed += depth * BLOCKED_CHANNELS) {
        const ptrdiff_t count = g->keys - first < BLOCKED_CHANNELS ? g->keys - first : BLOCKED_CHANNELS;
        if (count < BLOCKED_CHANNELS || g->depth < depth) {
            memset(packed, 0, (size_t)(depth * BLOCKED_CHANNELS) * sizeof *packed);
        }
        for (ptrdiff_t t = 0; t < count; t++) {
            const real_t *row = k + (first + t) * g->k.row;
            for (ptrdiff_t d = 0; d < g->depth; d++) {
                packed[d * BLOCKED_CHANNELS + t] = row[d];
            }
        }
    }
}

/* Values as weights of the results: [column / BLOCKED_CHANNELS][key][BLOCKED_CHANNELS], zeros beyond both. */
static void
GCAM_FN(attention_pack_values)(const gcam_attention_geom *g, const real_t *v, real_t *packed)
{
    const ptrdiff_t keys = g->key_blocks * GCAM_BLOCK;
    for (ptrdiff_t first = 0; first < g->width; first += BLOCKED_CHANNELS, packed += keys * BLOCKED_CHANNELS) {
        const ptrdiff_t count = g->width - first < BLOCKED_CHANNELS ? g->width - first : BLOCKED_CHANNELS;
        if (count < BLOCKED_CHANNELS) {
            memset(packed, 0, (size_t)(keys * BLOCKED_CHANNELS) * sizeof *packed);
        } else {
            memset(packed + g->keys * BLOCKED_CHANNELS, 0,
                   (size_t)((keys - g->keys) * BLOCKED_CHANNELS) * sizeof *packed);
        }
        for (ptrdiff_t t = 0; t < g->keys; t++) {
            memcpy(packed + t * BLOCKED_CHANNELS, v + t * g->v.row + first, (size_t)count * sizeof *packed);
        }
    }
}

/* Queries times the scale as [depth / GCAM_BLOCK][row][GCAM_BLOCK], zeros beyond the depth. */
static void
GCAM_FN(attention_queries)(const gcam_attention_geom *g, const real_t *q, ptrdiff_t rows, real_t *place)
{
    const real_t scale = (real_t)g->scale;
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t b = 0; b < g->depth_blocks; b++) {
            const real_t *restrict from = q + i * g->q.row + b * GCAM_BLOCK;
            real_t *restrict to = place + b * g->line + i * GCAM_BLOCK;
            const ptrdiff_t left = g->depth - b * GCAM_BLOCK;
            for (ptrdiff_t j = 0; j < GCAM_BLOCK; j++) {
                to[j] = left >= GCAM_BLOCK || j < left ? from[j] * scale : 0;
            }
        }
    }
}

/* Blocks [block][row][GCAM_BLOCK] times packed weights, `in_blocks` deep, as blocks of the same kind. */
static void
GCAM_FN(attention_product)(const gcam_attention_geom *g, const real_t *in, ptrdiff_t in_blocks, const real_t *packed,
                           ptrdiff_t rows, ptrdiff_t columns, real_t *out)
{
    static const ptrdiff_t origin = 0;
    const gcam_epilogue plain = {.op = -1};
    const gcam_tile_geom geom = {.in_pixel = GCAM_BLOCK,
                                 .in_block = g->line,
                                 .taps = &origin,
                                 .tap_count = 1,
                                 .out_pixel = GCAM_BLOCK,
                                 .out_block = g->line,
                                 .epilogue = &plain};
    const ptrdiff_t blocks = (columns - 1) / GCAM_BLOCK + 1, step = BLOCKED_CHANNELS / GCAM_BLOCK;
    for (ptrdiff_t block = 0; block < blocks; block += step) {
        const gcam_tile_part part = {.begins = 1,
                                     .ends = 1,
                                     .in_blocks = in_blocks,
                                     .out_blocks = blocks - block < step ? blocks - block : step};
        real_t *place = out + block * g->line;
        const GCAM_FN(tile_place) at = {.in = {in, in}, .out = {place, place}, .weights = packed};
        GCAM_FN(linear_rows)(&geom, &part, &at, rows);
        packed += in_blocks * GCAM_BLOCK * BLOCKED_CHANNELS;
    }
}

/* The scores of a row, in blocks `line` apart, to their exponentials; returns what these are to be divided by. */
static double
GCAM_FN(attention_exponentials)(const gcam_attention_geom *g, const real_t *restrict bias, real_t *restrict score)
{
    real_t lane[GCAM_BLOCK];
    for (ptrdiff_t j = 0; j < GCAM_BLOCK; j++) {
        lane[j] = -(real_t)INFINITY;
    }
    for (ptrdiff_t b = 0; b < g->key_blocks; b++) {
        real_t *restrict x = score + b * g->line;
        const ptrdiff_t left = g->keys - b * GCAM_BLOCK;
        for (ptrdiff_t j = left; j < GCAM_BLOCK; j++) {
            x[j] = -(real_t)INFINITY; /* no key: its exponential is 0 */
        }
        if (bias != NULL) {
            for (ptrdiff_t j = 0; j < (left < GCAM_BLOCK ? left : GCAM_BLOCK); j++) {
                x[j] += bias[b * GCAM_BLOCK + j];
            }
        }
        for (ptrdiff_t j = 0; j < GCAM_BLOCK; j++) {
            lane[j] = GCAM_FN(larger)(x[j], lane[j]);
        }
    }
    real_t m = -(real_t)INFINITY;
    for (ptrdiff_t j = 0; j < GCAM_BLOCK; j++) {
        m = GCAM_FN(larger)(lane[j], m);
    }
    double sums[GCAM_BLOCK] = {0};
    for (ptrdiff_t b = 0; b < g->key_blocks; b++) {
        real_t *restrict x = score + b * g->line;
        for (ptrdiff_t j = 0; j < GCAM_BLOCK; j++) {
            x[j] = GCAM_FN(exp)(x[j] - m);
            sums[j] += (double)x[j];
        }
    }
    double sum = 0;
    for (ptrdiff_t j = 0; j < GCAM_BLOCK; j++) {
        sum += sums[j];
    }
    return sum;
}

/* Results of a row, divided, to where they belong. */
static void
GCAM_FN(attention_store)(const gcam_attention_geom *g, const real_t *from, double factor, real_t *y)
{
    for (ptrdiff_t first = 0; first < g->width; first += GCAM_BLOCK, from += g->line) {
        const ptrdiff_t count = g->width - first < GCAM_BLOCK ? g->width - first : GCAM_BLOCK;
        for (ptrdiff_t j = 0; j < count; j++) {
            y[first + j] = (real_t)((double)from[j] * factor);
        }
    }
}

/* A worker owns blocks of rows of heads; keys and values are packed once for those of the same head. */
static void
GCAM_FN(attention_output)(const gcam_attention_geom *g, const real_t *q, const real_t *k, const real_t *v,
                          const real_t *bias, real_t *y, void *scratch, int worker, int workers)
{
    real_t *queries = scratch, *keys = queries + g->packed_k, *values = queries + g->packed_v;
    real_t *scores = queries + g->scores, *results = queries + g->results;
    double factor[ATTENTION_ROWS];
    ptrdiff_t begin, end, packed = -1;
    gcam_share(g->heads * g->row_blocks, worker, workers, &begin, &end);
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        const ptrdiff_t head = unit / g->row_blocks, row = unit % g->row_blocks * g->block_rows;
        const ptrdiff_t rows = g->rows - row < g->block_rows ? g->rows - row : g->block_rows;
        if (head != packed) {
            GCAM_FN(attention_pack_keys)(g, k + GCAM_FN(attention_at)(g, &g->k, head), keys);
            GCAM_FN(attention_pack_values)(g, v + GCAM_FN(attention_at)(g, &g->v, head), values);
            packed = head;
        }
        GCAM_FN(attention_queries)(g, q + GCAM_FN(attention_at)(g, &g->q, head) + row * g->q.row, rows, queries);
        GCAM_FN(attention_product)(g, queries, g->depth_blocks, keys, rows, g->keys, scores);
        const ptrdiff_t beside = GCAM_FN(attention_at)(g, &g->bias, head);
        for (ptrdiff_t i = 0; i < rows; i++) {
            const real_t *own = bias == NULL ? NULL : bias + beside + (row + i) * g->bias.row;
            factor[i] = 1 / GCAM_FN(attention_exponentials)(g, own, scores + i * GCAM_BLOCK);
        }
        GCAM_FN(attention_product)(g, scores, g->key_blocks, values, rows, g->width, results);
        real_t *place = y + GCAM_FN(attention_at)(g, &g->y, head) + row * g->y.row;
        for (ptrdiff_t i = 0; i < rows; i++) {
            GCAM_FN(attention_store)(g, results + i * GCAM_BLOCK, factor[i], place + i * g->y.row);
        }
    }
}
