/* Fast kernels of ops/conv.h: matrix products of packed weights with patches gathered block by block. */

static void
GCAM_FN(conv_pack)(const gcam_conv_geom *g, const real_t *w, real_t *packed, void *scratch, int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t taps = g->kernel[0] * g->kernel[1] * g->kernel[2];
    const ptrdiff_t blocks = (g->depth + GEMM_DEPTH - 1) / GEMM_DEPTH;
    const ptrdiff_t padded_rows = (g->rows + GEMM_ROWS - 1) / GEMM_ROWS * GEMM_ROWS;
    ptrdiff_t begin, end;
    gcam_share(g->groups * blocks, worker, workers, &begin, &end);
    for (ptrdiff_t item = begin; item < end; item++) {
        const ptrdiff_t group = item / blocks, first = item % blocks * GEMM_DEPTH;
        const ptrdiff_t depth = g->depth - first < GEMM_DEPTH ? g->depth - first : GEMM_DEPTH;
        real_t *place = packed + group * g->packed_group + item % blocks * g->packed_depth_block;
        for (ptrdiff_t i = 0; i < padded_rows; i += GEMM_ROWS) {
            for (ptrdiff_t d = first; d < first + depth; d++) {
                const ptrdiff_t channel = d / taps, tap = d % taps;
                for (ptrdiff_t r = i; r < i + GEMM_ROWS; r++) {
                    /* w (K, C/G, taps): rows are output channels, or for the gradient input channels. */
                    const ptrdiff_t k = g->gradient ? channel : r, c = g->gradient ? r : channel;
                    const ptrdiff_t whole = group * (g->k / g->groups) + k;
                    *place++ = r < g->rows ? w[(whole * (g->c / g->groups) + c) * taps + tap] : 0;
                }
            }
        }
    }
}

/* line[j] = source at the tap's place for positions [x0, x1) of one row of the last axis; 0 where there is none.
 * Forward: place = x stride + shift. Gradient: place = (x + shift) / stride where that is whole. */
static void
GCAM_FN(conv_row)(const gcam_conv_geom *g, const real_t *source, ptrdiff_t size, ptrdiff_t shift, ptrdiff_t x0,
                  ptrdiff_t x1, real_t *line)
{
    const ptrdiff_t stride = g->stride[2];
    if (stride == 1) {
        ptrdiff_t lo = -shift > x0 ? -shift : x0, hi = size - shift < x1 ? size - shift : x1;
        lo = lo < x1 ? lo : x1;
        hi = hi > lo ? hi : lo;
        for (ptrdiff_t x = x0; x < lo; x++) {
            line[x - x0] = 0;
        }
        memcpy(line + (lo - x0), source + lo + shift, (size_t)(hi - lo) * sizeof *line);
        for (ptrdiff_t x = hi; x < x1; x++) {
            line[x - x0] = 0;
        }
    } else if (!g->gradient) {
        for (ptrdiff_t x = x0; x < x1; x++) {
            const ptrdiff_t place = x * stride + shift;
            line[x - x0] = place >= 0 && place < size ? source[place] : 0;
        }
    } else {
        for (ptrdiff_t x = x0; x < x1; x++) {
            const ptrdiff_t place = x + shift;
            line[x - x0] = place >= 0 && place % stride == 0 && place / stride < size ? source[place / stride] : 0;
        }
    }
}

/* Index into a source axis for position p of the result and tap r; -1 where there is no element. */
static ptrdiff_t
GCAM_FN(conv_place)(const gcam_conv_geom *g, int axis, ptrdiff_t p, ptrdiff_t r)
{
    if (!g->gradient) {
        const ptrdiff_t place = p * g->stride[axis] + r * g->dilation[axis] - g->pad_lo[axis];
        return place >= 0 && place < g->in[axis] ? place : -1;
    }
    const ptrdiff_t place = p + g->pad_lo[axis] - r * g->dilation[axis];
    if (g->stride[axis] == 1) { /* divisions take longer than short rows */
        return place >= 0 && place < g->out[axis] ? place : -1;
    }
    return place >= 0 && place % g->stride[axis] == 0 && place / g->stride[axis] < g->out[axis]
               ? place / g->stride[axis]
               : -1;
}

/* Whole rows [row, row + rows) of a plane whose rows are as long as those of the source, at stride 1: neighbours in the
 * result are neighbours in the source, so it is one copy, and zeros over what came from the ends of other rows. */
static void
GCAM_FN(conv_rows)(const real_t *plane, ptrdiff_t height, ptrdiff_t width, ptrdiff_t down, ptrdiff_t right,
                   ptrdiff_t row, ptrdiff_t rows, real_t *line)
{
    const ptrdiff_t first = -down > row ? -down : row, last = height - down < row + rows ? height - down : row + rows;
    const ptrdiff_t lo = right < 0 ? -right : 0, hi = right > 0 ? width - right : width;
    if (first >= last || lo >= hi) {
        memset(line, 0, (size_t)(rows * width) * sizeof *line);
        return;
    }
    const ptrdiff_t count = (last - first) * width - lo - (width - hi);
    real_t *place = line + (first - row) * width, *after = line + (last - row) * width;
    memset(line, 0, (size_t)(place - line) * sizeof *line);
    memcpy(place + lo, plane + (first + down) * width + lo + right, (size_t)count * sizeof *line);
    memset(after, 0, (size_t)(line + rows * width - after) * sizeof *line);
    for (; place < after && hi - lo < width; place += width) {
        for (ptrdiff_t x = 0; x < lo; x++) {
            place[x] = 0;
        }
        for (ptrdiff_t x = hi; x < width; x++) {
            place[x] = 0;
        }
    }
}

/* What one tap reads of one channel for the positions [begin, end) of the result. */
static void
GCAM_FN(conv_line)(const gcam_conv_geom *g, const real_t *source, ptrdiff_t tap, ptrdiff_t begin, ptrdiff_t end,
                   real_t *line)
{
    const ptrdiff_t *from = g->gradient ? g->out : g->in, *to = g->gradient ? g->in : g->out;
    const ptrdiff_t k1 = g->kernel[1], k2 = g->kernel[2];
    const ptrdiff_t r0 = tap / (k1 * k2), r1 = tap / k2 % k1, reach = tap % k2 * g->dilation[2];
    const ptrdiff_t shift = g->gradient ? g->pad_lo[2] - reach : reach - g->pad_lo[2];
    const ptrdiff_t down = (g->gradient ? -1 : 1) * (r1 * g->dilation[1] - g->pad_lo[1]);
    const int dense = g->stride[1] == 1 && g->stride[2] == 1 && from[2] == to[2];
    ptrdiff_t x0 = begin % to[2], p0 = begin / to[2] / to[1], p1 = begin / to[2] % to[1];
    for (ptrdiff_t p = begin, count; p < end; p += count, x0 = 0) {
        const ptrdiff_t i0 = GCAM_FN(conv_place)(g, 0, p0, r0), i1 = GCAM_FN(conv_place)(g, 1, p1, r1);
        const ptrdiff_t whole = dense && x0 == 0 ? (end - p) / to[2] : 0;
        const ptrdiff_t rows = whole < to[1] - p1 ? whole : to[1] - p1;
        count = rows > 0 ? rows * to[2] : to[2] - x0 < end - p ? to[2] - x0 : end - p;
        if (rows > 0 && i0 >= 0) {
            GCAM_FN(conv_rows)(source + i0 * from[1] * from[2], from[1], from[2], down, shift, p1, rows,
                               line + (p - begin));
        } else if (i0 < 0 || i1 < 0) {
            memset(line + (p - begin), 0, (size_t)count * sizeof *line);
        } else {
            GCAM_FN(conv_row)(g, source + (i0 * from[1] + i1) * from[2], from[2], shift, x0, x0 + count,
                              line + (p - begin));
        }
        p1 += rows > 0 ? rows : 1;
        if (p1 == to[1]) {
            p1 = 0;
            p0++;
        }
    }
}

/* Patches of the positions [begin, end) for depths [first, first + depth), as column panels at b. */
static void
GCAM_FN(conv_patches)(const gcam_conv_geom *g, const real_t *source, ptrdiff_t first, ptrdiff_t depth, ptrdiff_t begin,
                      ptrdiff_t end, real_t *b, real_t *line)
{
    const ptrdiff_t *from = g->gradient ? g->out : g->in;
    const ptrdiff_t plane = from[0] * from[1] * from[2], taps = g->kernel[0] * g->kernel[1] * g->kernel[2];
    const int identity = plane == g->columns && taps == 1 && g->stride[0] * g->stride[1] * g->stride[2] == 1
                         && g->pad_lo[0] + g->pad_lo[1] + g->pad_lo[2] == 0;
    for (ptrdiff_t d = 0; d < depth; d++) {
        const ptrdiff_t channel = (first + d) / taps, tap = (first + d) % taps;
        const real_t *channel_source = source + channel * plane;
        if (identity) {
            GCAM_FN(gemm_pack_line)(channel_source + begin, end - begin, d, b, g->panel);
            continue;
        }
        GCAM_FN(conv_line)(g, channel_source, tap, begin, end, line);
        GCAM_FN(gemm_pack_line)(line, end - begin, d, b, g->panel);
    }
}

/* Rows [row0, row1) and columns [column0, column1) of one group of one picture; row0 begins a panel. */
static void
GCAM_FN(conv_part)(const gcam_conv_geom *g, const real_t *source, const real_t *packed, const real_t *bias,
                   real_t *result, ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t column0, ptrdiff_t column1, void *scratch)
{
    real_t *b = scratch, *line = b + g->block_columns / GEMM_COLUMNS * g->panel;
    for (ptrdiff_t begin = column0; begin < column1; begin += g->block_columns) {
        const ptrdiff_t end = column1 - begin < g->block_columns ? column1 : begin + g->block_columns;
        for (ptrdiff_t first = 0; first < g->depth; first += GEMM_DEPTH) {
            const ptrdiff_t depth = g->depth - first < GEMM_DEPTH ? g->depth - first : GEMM_DEPTH;
            GCAM_FN(conv_patches)(g, source, first, depth, begin, end, b, line);
            GCAM_FN(gemm_block)(depth, packed + first / GEMM_DEPTH * g->packed_depth_block + row0 * depth,
                                GEMM_ROWS * depth, row1 - row0, b, g->panel, end - begin,
                                result + row0 * g->columns + begin, g->columns, bias == NULL ? NULL : bias + row0,
                                first == 0);
        }
    }
}

/* All pictures and groups; workers split the positions where there are many, else the row panels. */
static void
GCAM_FN(conv_product)(const gcam_conv_geom *g, const real_t *source, const real_t *packed, const real_t *bias,
                      real_t *result, void *scratch, int worker, int workers)
{
    const ptrdiff_t *from = g->gradient ? g->out : g->in;
    const ptrdiff_t source_group = g->source_channels * from[0] * from[1] * from[2];
    const ptrdiff_t row_panels = (g->rows + GEMM_ROWS - 1) / GEMM_ROWS;
    const ptrdiff_t column_panels = (g->columns + GEMM_COLUMNS - 1) / GEMM_COLUMNS;
    const ptrdiff_t items = g->n * g->groups;
    const int by_item = items >= 4 * workers, by_column = column_panels >= 8 * workers;
    ptrdiff_t item0 = 0, item1 = items, row0 = 0, row1 = g->rows, column0 = 0, column1 = g->columns;
    if (by_item) {
        gcam_share(items, worker, workers, &item0, &item1);
    } else if (by_column) {
        gcam_share(column_panels, worker, workers, &column0, &column1);
        column0 *= GEMM_COLUMNS;
        column1 = column1 * GEMM_COLUMNS < g->columns ? column1 * GEMM_COLUMNS : g->columns;
    } else {
        gcam_share(row_panels, worker, workers, &row0, &row1);
        row0 *= GEMM_ROWS;
        row1 = row1 * GEMM_ROWS < g->rows ? row1 * GEMM_ROWS : g->rows;
    }
    if (row0 >= row1) {
        return;
    }
    for (ptrdiff_t item = item0; item < item1; item++) {
        const ptrdiff_t group = item % g->groups;
        GCAM_FN(conv_part)(g, source + item * source_group, packed + group * g->packed_group,
                           bias == NULL ? NULL : bias + group * g->rows, result + item * g->rows * g->columns, row0,
                           row1, column0, column1, scratch);
    }
}

static void
GCAM_FN(conv_output)(const gcam_conv_geom *g, const real_t *x, const real_t *packed, const real_t *b, real_t *y,
                     void *scratch, int worker, int workers)
{
    GCAM_FN(conv_product)(g, x, packed, b, y, scratch, worker, workers);
}

static void
GCAM_FN(conv_input_grad)(const gcam_conv_geom *g, const real_t *dy, const real_t *packed, real_t *dx, void *scratch,
                         int worker, int workers)
{
    GCAM_FN(conv_product)(g, dy, packed, NULL, dx, scratch, worker, workers);
}
