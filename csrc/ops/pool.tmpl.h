/* Kernels of ops/pool.h.
 *
 * Windows are boxes, so a window is folded (maximum or sum) over its rows first and along the row afterwards. The first
 * fold runs over whole rows of the input, contiguous in memory; it leaves them in a scratch row between cells of
 * padding, which is why the second fold knows no bounds. */

/* `maximum` is a constant wherever this is inlined. */
GCAM_INLINE real_t
GCAM_FN(pool_fold)(bool maximum, real_t folded, real_t value)
{
    if (!maximum) {
        return folded + value;
    }
    return value > folded || value != value ? value : folded;
}

static void
GCAM_FN(pool_fill)(real_t *values, ptrdiff_t count, real_t value)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        values[i] = value;
    }
}

/* cells[i] = fold over the rows of window (od, oh, .) of x[row, i]; the neutral value where the window has no row. */
GCAM_INLINE void
GCAM_FN(pool_fold_rows)(const gcam_pool_geom *g, bool maximum, const real_t *restrict plane, ptrdiff_t od, ptrdiff_t oh,
                        real_t *restrict cells, real_t neutral)
{
    const ptrdiff_t width = g->in[2];
    ptrdiff_t d_first, d_end, h_first, h_end;
    gcam_pool_taps(g, 0, od, 0, g->in[0], &d_first, &d_end);
    gcam_pool_taps(g, 1, oh, 0, g->in[1], &h_first, &h_end);
    bool first = true;
    for (ptrdiff_t td = d_first; td < d_end; td++) {
        const ptrdiff_t id = od * g->stride[0] - g->pad_lo[0] + td * g->dilation[0];
        for (ptrdiff_t th = h_first; th < h_end; th++) {
            const ptrdiff_t ih = oh * g->stride[1] - g->pad_lo[1] + th * g->dilation[1];
            const real_t *row = plane + (id * g->in[1] + ih) * width;
            if (first) {
                memcpy(cells, row, (size_t)width * sizeof *cells);
                first = false;
                continue;
            }
            for (ptrdiff_t i = 0; i < width; i++) {
                cells[i] = GCAM_FN(pool_fold)(maximum, cells[i], row[i]);
            }
        }
    }
    if (first) {
        GCAM_FN(pool_fill)(cells, width, neutral);
    }
}

/* y[o] = fold over t < kernel of row[o * stride + t], for constant kernel and stride. */
GCAM_INLINE void
GCAM_FN(pool_fold_short)(bool maximum, const real_t *restrict row, real_t *restrict y, ptrdiff_t count,
                         ptrdiff_t kernel, ptrdiff_t stride)
{
    for (ptrdiff_t o = 0; o < count; o++) {
        real_t folded = row[o * stride];
        for (ptrdiff_t t = 1; t < kernel; t++) {
            folded = GCAM_FN(pool_fold)(maximum, folded, row[o * stride + t]);
        }
        y[o] = folded;
    }
}

/* y[o] = fold over the taps of window o of the padded row. */
GCAM_INLINE void
GCAM_FN(pool_fold_row)(const gcam_pool_geom *g, bool maximum, const real_t *restrict row, real_t *restrict y)
{
    const ptrdiff_t count = g->out[2], kernel = g->kernel[2], stride = g->stride[2], dilation = g->dilation[2];
    if (dilation == 1 && kernel == 2 && stride == 2) {
        GCAM_FN(pool_fold_short)(maximum, row, y, count, 2, 2);
    } else if (dilation == 1 && kernel == 3 && stride == 2) {
        GCAM_FN(pool_fold_short)(maximum, row, y, count, 3, 2);
    } else if (dilation == 1 && kernel == 3 && stride == 1) {
        GCAM_FN(pool_fold_short)(maximum, row, y, count, 3, 1);
    } else {
        for (ptrdiff_t o = 0; o < count; o++) {
            y[o] = row[o * stride];
        }
        for (ptrdiff_t t = 1; t < kernel; t++) {
            for (ptrdiff_t o = 0; o < count; o++) {
                y[o] = GCAM_FN(pool_fold)(maximum, y[o], row[o * stride + t * dilation]);
            }
        }
    }
}

/* The divisors that the last axis gives, one per window. */
static void
GCAM_FN(pool_counts)(const gcam_pool_geom *g, real_t *counts)
{
    for (ptrdiff_t o = 0; o < g->out[2]; o++) {
        counts[o] = (real_t)gcam_pool_count(g, 2, o);
    }
}

/* Workers share the rows of y. */
GCAM_INLINE void
GCAM_FN(pool_output)(const gcam_pool_geom *g, bool maximum, const real_t *restrict x, real_t *restrict y,
                     real_t *restrict row, int worker, int workers)
{
    const ptrdiff_t in_plane = g->in[0] * g->in[1] * g->in[2], rows = g->out[0] * g->out[1];
    const real_t neutral = maximum ? -(real_t)INFINITY : 0;
    real_t *counts = row + g->row;
    GCAM_FN(pool_fill)(row, g->row, neutral);
    if (!maximum) {
        GCAM_FN(pool_counts)(g, counts);
    }
    ptrdiff_t begin, end;
    gcam_share(g->planes * rows, worker, workers, &begin, &end);
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t od = r % rows / g->out[1], oh = r % g->out[1];
        real_t *y_row = y + r * g->out[2];
        GCAM_FN(pool_fold_rows)(g, maximum, x + r / rows * in_plane, od, oh, row + g->pad_lo[2], neutral);
        GCAM_FN(pool_fold_row)(g, maximum, row, y_row);
        if (!maximum) {
            const real_t count = (real_t)(gcam_pool_count(g, 0, od) * gcam_pool_count(g, 1, oh));
            for (ptrdiff_t o = 0; o < g->out[2]; o++) {
                y_row[o] /= count * counts[o];
            }
        }
    }
}

static void
GCAM_FN(pool_max_output)(const gcam_pool_geom *g, const real_t *restrict x, real_t *restrict y, void *scratch,
                         int worker, int workers)
{
    GCAM_FN(pool_output)(g, true, x, y, scratch, worker, workers);
}

static void
GCAM_FN(pool_average_output)(const gcam_pool_geom *g, const real_t *restrict x, real_t *restrict y, void *scratch,
                             int worker, int workers)
{
    GCAM_FN(pool_output)(g, false, x, y, scratch, worker, workers);
}

/* First and last cell of the input that window `o` of axis `a` holds; false if there is none. */
static bool
GCAM_FN(pool_cells)(const gcam_pool_geom *g, int a, ptrdiff_t o, ptrdiff_t *low, ptrdiff_t *high)
{
    ptrdiff_t first, end;
    gcam_pool_taps(g, a, o, 0, g->in[a], &first, &end);
    const ptrdiff_t start = o * g->stride[a] - g->pad_lo[a];
    *low = start + first * g->dilation[a];
    *high = start + (end - 1) * g->dilation[a];
    return first < end;
}

/* Positions in the plane, as wide as the real numbers so that both go through the same vector lanes. */
#if GCAM_DTYPE_IS_F32
typedef int32_t GCAM_FN(pool_position);
#else
typedef int64_t GCAM_FN(pool_position);
#endif

/* One tap of all windows of a row: row[o * stride] is the cell at position at + o * stride. */
GCAM_INLINE void
GCAM_FN(pool_find_tap)(const real_t *restrict row, ptrdiff_t at, ptrdiff_t count, ptrdiff_t stride,
                       real_t *restrict largest, GCAM_FN(pool_position) *restrict position)
{
    typedef GCAM_FN(pool_position) integer;
    const integer n = (integer)count, step = (integer)stride, first = (integer)at;
    for (integer o = 0; o < n; o++) {
        const real_t value = row[(ptrdiff_t)o * stride];
        const bool better = (value > largest[o]) | ((value != value) & (largest[o] == largest[o]));
        position[o] = better ? first + o * step : position[o];
        largest[o] = better ? value : largest[o];
    }
}

/* The same for the only window of a row, whose cells lie side by side. Most lines hold no larger number. */
static void
GCAM_FN(pool_find_line)(const real_t *restrict line, ptrdiff_t at, ptrdiff_t cells, real_t *restrict largest,
                        GCAM_FN(pool_position) *restrict position)
{
    const real_t before = *largest;
    GCAM_FN(pool_position) found = 0;
    for (ptrdiff_t i = 0; i < cells; i++) {
        found |= (line[i] > before) | (line[i] != line[i]);
    }
    for (ptrdiff_t i = 0; i < cells && found; i++) {
        GCAM_FN(pool_find_tap)(line + i, at + i, 1, 1, largest, position);
    }
}

/* position[o] = where window (od, oh, o) has its first maximum; -1 if no cell is larger than -inf. */
static void
GCAM_FN(pool_find_row)(const gcam_pool_geom *g, const real_t *restrict plane, ptrdiff_t od, ptrdiff_t oh,
                       real_t *restrict row, real_t *restrict largest, GCAM_FN(pool_position) *restrict position)
{
    const ptrdiff_t count = g->out[2], stride = g->stride[2];
    ptrdiff_t low[2] = {0, 0}, high[2] = {-1, -1};
    for (ptrdiff_t o = 0; o < count; o++) {
        largest[o] = -(real_t)INFINITY;
        position[o] = -1;
    }
    if (!GCAM_FN(pool_cells)(g, 0, od, &low[0], &high[0]) || !GCAM_FN(pool_cells)(g, 1, oh, &low[1], &high[1])) {
        return;
    }
    ptrdiff_t left = 0, right = -1;
    const bool single = count == 1 && g->dilation[2] == 1 && GCAM_FN(pool_cells)(g, 2, 0, &left, &right);
    for (ptrdiff_t d = low[0]; d <= high[0]; d += g->dilation[0]) {
        for (ptrdiff_t h = low[1]; h <= high[1]; h += g->dilation[1]) {
            const ptrdiff_t start = (d * g->in[1] + h) * g->in[2];
            if (single) {
                GCAM_FN(pool_find_line)(plane + start + left, start + left, right - left + 1, largest, position);
                continue;
            }
            memcpy(row + g->pad_lo[2], plane + start, (size_t)g->in[2] * sizeof *row);
            for (ptrdiff_t t = 0; t < g->kernel[2]; t++) {
                const ptrdiff_t tap = t * g->dilation[2], at = start - g->pad_lo[2] + tap;
                if (stride == 1) {
                    GCAM_FN(pool_find_tap)(row + tap, at, count, 1, largest, position);
                } else if (stride == 2) {
                    GCAM_FN(pool_find_tap)(row + tap, at, count, 2, largest, position);
                } else {
                    GCAM_FN(pool_find_tap)(row + tap, at, count, stride, largest, position);
                }
            }
        }
    }
}

/* The first cell of a window, which is its first maximum if all cells are -inf; -1 if it has no cell. */
static ptrdiff_t
GCAM_FN(pool_first_cell)(const gcam_pool_geom *g, ptrdiff_t od, ptrdiff_t oh, ptrdiff_t ow)
{
    ptrdiff_t low[GCAM_MAX_SPACE], high;
    const bool has_cell = GCAM_FN(pool_cells)(g, 0, od, &low[0], &high) && GCAM_FN(pool_cells)(g, 1, oh, &low[1], &high)
                          && GCAM_FN(pool_cells)(g, 2, ow, &low[2], &high);
    return has_cell ? (low[0] * g->in[1] + low[1]) * g->in[2] + low[2] : -1;
}

/* position[o] = where the windows of row `r` of y have their first maximum; -1 for a window without a cell. The cells
 * of `row` are padding, and room for the largest values follows them. */
static void
GCAM_FN(pool_choose_row)(const gcam_pool_geom *g, const real_t *restrict plane, ptrdiff_t r, real_t *row,
                         GCAM_FN(pool_position) * position)
{
    const ptrdiff_t od = r / g->out[1], oh = r % g->out[1];
    GCAM_FN(pool_find_row)(g, plane, od, oh, row, row + g->row, position);
    for (ptrdiff_t ow = 0; ow < g->out[2]; ow++) {
        if (position[ow] < 0) {
            position[ow] = (GCAM_FN(pool_position))GCAM_FN(pool_first_cell)(g, od, oh, ow);
        }
    }
}

static void
GCAM_FN(pool_max_input_grad)(const gcam_pool_geom *g, const real_t *restrict x, const real_t *restrict dy,
                             real_t *restrict dx, void *scratch, int worker, int workers)
{
    const ptrdiff_t in_plane = g->in[0] * g->in[1] * g->in[2], rows = g->out[0] * g->out[1];
    real_t *row = scratch;
    GCAM_FN(pool_position) *position = (void *)(row + g->row + g->out[2]);
    GCAM_FN(pool_fill)(row, g->row, -(real_t)INFINITY);
    ptrdiff_t begin, end;
    gcam_share(g->planes, worker, workers, &begin, &end);
    const real_t *dy_row = dy + begin * rows * g->out[2];
    for (ptrdiff_t p = begin; p < end; p++) {
        real_t *dx_plane = dx + p * in_plane;
        GCAM_FN(pool_fill)(dx_plane, in_plane, 0);
        for (ptrdiff_t r = 0; r < rows; r++, dy_row += g->out[2]) {
            GCAM_FN(pool_choose_row)(g, x + p * in_plane, r, row, position);
            for (ptrdiff_t ow = 0; ow < g->out[2]; ow++) {
                if (position[ow] >= 0) {
                    dx_plane[position[ow]] += dy_row[ow];
                }
            }
        }
    }
}

/* Workers share the rows of y. */
static void
GCAM_FN(pool_max_pick)(const gcam_pool_geom *g, const real_t *restrict x, const real_t *restrict v, real_t *restrict y,
                       void *scratch, int worker, int workers)
{
    const ptrdiff_t in_plane = g->in[0] * g->in[1] * g->in[2], rows = g->out[0] * g->out[1];
    real_t *row = scratch;
    GCAM_FN(pool_position) *position = (void *)(row + g->row + g->out[2]);
    GCAM_FN(pool_fill)(row, g->row, -(real_t)INFINITY);
    ptrdiff_t begin, end;
    gcam_share(g->planes * rows, worker, workers, &begin, &end);
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t plane = r / rows * in_plane;
        GCAM_FN(pool_choose_row)(g, x + plane, r % rows, row, position);
        for (ptrdiff_t ow = 0; ow < g->out[2]; ow++) {
            const ptrdiff_t at = position[ow];
            y[r * g->out[2] + ow] = at < 0 ? 0 : v[plane + at];
        }
    }
}

/* Workers share the rows of y. */
static void
GCAM_FN(pool_max_index)(const gcam_pool_geom *g, const real_t *restrict x, int64_t *restrict y, void *scratch,
                        int worker, int workers)
{
    const ptrdiff_t in_plane = g->in[0] * g->in[1] * g->in[2], rows = g->out[0] * g->out[1];
    real_t *row = scratch;
    GCAM_FN(pool_position) *position = (void *)(row + g->row + g->out[2]);
    GCAM_FN(pool_fill)(row, g->row, -(real_t)INFINITY);
    ptrdiff_t begin, end;
    gcam_share(g->planes * rows, worker, workers, &begin, &end);
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t plane = r / rows * in_plane;
        GCAM_FN(pool_choose_row)(g, x + plane, r % rows, row, position);
        for (ptrdiff_t ow = 0; ow < g->out[2]; ow++) {
            ptrdiff_t at = position[ow];
            if (g->count_include_pad && at >= 0) { /* column-major */
                const ptrdiff_t w = at % g->in[2], h = at / g->in[2] % g->in[1], d = at / g->in[2] / g->in[1];
                at = (w * g->in[1] + h) * g->in[0] + d;
            }
            y[r * g->out[2] + ow] = at < 0 ? -1 : plane + at;
        }
    }
}

/* row[...] = sum over windows o and taps of dy[o] / count(o): the fold along the row, transposed. */
static void
GCAM_FN(pool_spread_row)(const gcam_pool_geom *g, const real_t *restrict dy, const real_t *restrict counts,
                         real_t count, real_t *restrict row)
{
    GCAM_FN(pool_fill)(row, g->row, 0);
    for (ptrdiff_t t = 0; t < g->kernel[2]; t++) {
        for (ptrdiff_t o = 0; o < g->out[2]; o++) {
            row[o * g->stride[2] + t * g->dilation[2]] += dy[o] / (count * counts[o]);
        }
    }
}

static void
GCAM_FN(pool_average_input_grad)(const gcam_pool_geom *g, const real_t *restrict dy, real_t *restrict dx, void *scratch,
                                 int worker, int workers)
{
    const ptrdiff_t width = g->in[2], in_plane = g->in[0] * g->in[1] * width;
    real_t *restrict row = scratch, *counts = row + g->row;
    GCAM_FN(pool_counts)(g, counts);
    ptrdiff_t begin, end, low[2], high[2];
    gcam_share(g->planes, worker, workers, &begin, &end);
    const real_t *dy_row = dy + begin * g->out[0] * g->out[1] * g->out[2];
    for (ptrdiff_t p = begin; p < end; p++) {
        GCAM_FN(pool_fill)(dx + p * in_plane, in_plane, 0);
        for (ptrdiff_t r = 0; r < g->out[0] * g->out[1]; r++, dy_row += g->out[2]) {
            const ptrdiff_t od = r / g->out[1], oh = r % g->out[1];
            if (!GCAM_FN(pool_cells)(g, 0, od, &low[0], &high[0])
                || !GCAM_FN(pool_cells)(g, 1, oh, &low[1], &high[1])) {
                continue;
            }
            const real_t count = (real_t)(gcam_pool_count(g, 0, od) * gcam_pool_count(g, 1, oh));
            GCAM_FN(pool_spread_row)(g, dy_row, counts, count, row);
            for (ptrdiff_t d = low[0]; d <= high[0]; d += g->dilation[0]) {
                for (ptrdiff_t h = low[1]; h <= high[1]; h += g->dilation[1]) {
                    real_t *restrict dx_row = dx + p * in_plane + (d * g->in[1] + h) * width;
                    for (ptrdiff_t i = 0; i < width; i++) {
                        dx_row[i] += row[g->pad_lo[2] + i];
                    }
                }
            }
        }
    }
}
