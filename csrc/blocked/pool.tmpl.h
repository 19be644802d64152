/* Kernels of blocked/pool.h: as in ops/pool.tmpl.h a window is folded over its rows first and along the row afterwards,
 * with 16 channels where there was one number. */

/* Bits of a where the mask is set, else of b. */
GCAM_INLINE vreal
GCAM_FN(blocked_select)(V(mask) where, vreal a, vreal b)
{
    return (vreal)((where & (V(mask))a) | (~where & (V(mask))b));
}

GCAM_INLINE vreal
GCAM_FN(blocked_fold)(bool maximum, vreal folded, vreal value)
{
    if (!maximum) {
        return V(add)(folded, value);
    }
    return GCAM_FN(blocked_select)((value > folded) | (value != value), value, folded);
}

/* cells[...] = fold over the rows of window row `oh` of a block. */
GCAM_INLINE void
GCAM_FN(blocked_fold_rows)(const gcam_blocked_pool_geom *g, bool maximum, const real_t *restrict plane, ptrdiff_t oh,
                           real_t *restrict cells, real_t neutral)
{
    const ptrdiff_t count = g->in.w * GCAM_BLOCK, step = g->pool.dilation[1] * g->in.row;
    ptrdiff_t first, end;
    gcam_pool_taps(&g->pool, 1, oh, 0, g->in.h, &first, &end);
    if (first == end) {
        GCAM_FN(pool_fill)(cells, count, neutral);
        return;
    }
    const ptrdiff_t start = oh * g->pool.stride[1] - g->pool.pad_lo[1] + first * g->pool.dilation[1];
    const real_t *row = plane + start * g->in.row;
    for (ptrdiff_t i = 0; i < count; i += VLANES) {
        vreal folded = V(load)(row + i);
        for (ptrdiff_t t = 1; t < end - first; t++) {
            folded = GCAM_FN(blocked_fold)(maximum, folded, V(load)(row + t * step + i));
        }
        V(store)(cells + i, folded);
    }
}

/* One row of windows of the padded row: y = fold along the row, divided by count * counts[o] (counts NULL: not). */
GCAM_INLINE void
GCAM_FN(blocked_fold_along)(bool maximum, const real_t *restrict row, real_t *restrict y, ptrdiff_t windows,
                            ptrdiff_t kernel, ptrdiff_t tap, ptrdiff_t step, real_t count,
                            const real_t *restrict counts)
{
    for (ptrdiff_t o = 0; o < windows; o++) {
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
            const real_t *cell = row + o * step + lane;
            vreal folded = V(load)(cell);
            for (ptrdiff_t t = 1; t < kernel; t++) {
                folded = GCAM_FN(blocked_fold)(maximum, folded, V(load)(cell + t * tap));
            }
            if (!maximum) {
                folded /= V(set1)(count * counts[o]);
            }
            V(store)(y + o * GCAM_BLOCK + lane, folded);
        }
    }
}

/* Workers share the rows of all blocks of y. */
GCAM_INLINE void
GCAM_FN(blocked_pool_output)(const gcam_blocked_pool_geom *g, bool maximum, const real_t *restrict x,
                             real_t *restrict y, real_t *restrict row, int worker, int workers)
{
    const gcam_blocked *in = &g->in, *out = &g->out;
    const gcam_pool_geom *pool = &g->pool;
    const real_t neutral = maximum ? -(real_t)INFINITY : 0;
    real_t *counts = row + pool->row * GCAM_BLOCK;
    GCAM_FN(pool_fill)(row, pool->row * GCAM_BLOCK, neutral);
    if (!maximum) {
        GCAM_FN(pool_counts)(pool, counts);
    }
    ptrdiff_t begin, end;
    gcam_share(out->n * out->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(out, y, begin, end);
    gcam_share(out->n * out->blocks * out->h, worker, workers, &begin, &end);
    for (ptrdiff_t line = begin; line < end; line++) {
        const ptrdiff_t plane = line / out->h, i = line % out->h, kernel = pool->kernel[2];
        const ptrdiff_t tap = pool->dilation[2] * GCAM_BLOCK, step = pool->stride[2] * GCAM_BLOCK;
        real_t *y_row = y + plane * out->plane + out->origin + i * out->row;
        GCAM_FN(blocked_fold_rows)(g, maximum, x + plane * in->plane + in->origin, i,
                                   row + pool->pad_lo[2] * GCAM_BLOCK, neutral);
        const real_t count = maximum ? 1 : (real_t)gcam_pool_count(pool, 1, i);
        if (kernel == 2 && tap == GCAM_BLOCK) {
            GCAM_FN(blocked_fold_along)(maximum, row, y_row, out->w, 2, GCAM_BLOCK, step, count, counts);
        } else if (kernel == 3 && tap == GCAM_BLOCK) {
            GCAM_FN(blocked_fold_along)(maximum, row, y_row, out->w, 3, GCAM_BLOCK, step, count, counts);
        } else {
            GCAM_FN(blocked_fold_along)(maximum, row, y_row, out->w, kernel, tap, step, count, counts);
        }
    }
}

static void
GCAM_FN(blocked_max_pool_output)(const gcam_blocked_pool_geom *g, const real_t *restrict x, real_t *restrict y,
                                 void *scratch, int worker, int workers)
{
    GCAM_FN(blocked_pool_output)(g, true, x, y, scratch, worker, workers);
}

static void
GCAM_FN(blocked_average_pool_output)(const gcam_blocked_pool_geom *g, const real_t *restrict x, real_t *restrict y,
                                     void *scratch, int worker, int workers)
{
    GCAM_FN(blocked_pool_output)(g, false, x, y, scratch, worker, workers);
}

/* The cells of a window in one block. */
typedef struct {
    ptrdiff_t low[2], high[2];
} GCAM_FN(blocked_cells);

/* false if the window holds no cell. */
static bool
GCAM_FN(blocked_window_cells)(const gcam_pool_geom *pool, ptrdiff_t oh, ptrdiff_t ow, GCAM_FN(blocked_cells) * cells)
{
    return GCAM_FN(pool_cells)(pool, 1, oh, &cells->low[0], &cells->high[0])
           && GCAM_FN(pool_cells)(pool, 2, ow, &cells->low[1], &cells->high[1]);
}

/* dy of one window to its first maximum in scan order, lane by lane; a NaN counts as the maximum. */
static void
GCAM_FN(blocked_spread_to_maximum)(const gcam_blocked_pool_geom *g, const GCAM_FN(blocked_cells) * cells,
                                   const real_t *restrict x, const real_t *restrict dy, real_t *restrict dx)
{
    const ptrdiff_t h_step = g->pool.dilation[1], w_step = g->pool.dilation[2];
    vreal largest = V(set1)(-(real_t)INFINITY);
    V(mask) chosen = {0}, tap = {0}; /* a window whose cells are all -inf gives its gradient to the first one */
    for (ptrdiff_t h = cells->low[0]; h <= cells->high[0]; h += h_step) {
        for (ptrdiff_t w = cells->low[1]; w <= cells->high[1]; w += w_step) {
            const vreal value = V(load)(x + h * g->in.row + w * GCAM_BLOCK);
            const V(mask) better = (value > largest) | ((value != value) & (largest == largest));
            chosen = (better & tap) | (~better & chosen);
            largest = GCAM_FN(blocked_select)(better, value, largest);
            tap += 1;
        }
    }
    const V(mask) gradient = (V(mask))V(load)(dy);
    tap = (V(mask)){0};
    for (ptrdiff_t h = cells->low[0]; h <= cells->high[0]; h += h_step) {
        for (ptrdiff_t w = cells->low[1]; w <= cells->high[1]; w += w_step) {
            real_t *cell = dx + h * g->gradient.row + w * GCAM_BLOCK;
            V(store)(cell, V(add)(V(load)(cell), (vreal)((chosen == tap) & gradient)));
            tap += 1;
        }
    }
}

/* Workers share the blocks. */
static void
GCAM_FN(blocked_max_pool_input_grad)(const gcam_blocked_pool_geom *g, const real_t *restrict x,
                                     const real_t *restrict dy, real_t *restrict dx, void *scratch, int worker,
                                     int workers)
{
    (void)scratch;
    const gcam_blocked *in = &g->in, *out = &g->out, *to = &g->gradient;
    ptrdiff_t begin, end;
    gcam_share(in->n * in->blocks, worker, workers, &begin, &end);
    memset(dx + begin * to->plane, 0, (size_t)((end - begin) * to->plane) * sizeof *dx);
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        const real_t *x_plane = x + plane * in->plane + in->origin, *dy_plane = dy + plane * out->plane + out->origin;
        real_t *dx_plane = dx + plane * to->plane + to->origin;
        for (ptrdiff_t o = 0; o < out->h * out->w; o++) {
            GCAM_FN(blocked_cells) cells;
            if (!GCAM_FN(blocked_window_cells)(&g->pool, o / out->w, o % out->w, &cells)) {
                continue;
            }
            const real_t *dy_cell = dy_plane + o / out->w * out->row + o % out->w * GCAM_BLOCK;
            for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
                GCAM_FN(blocked_spread_to_maximum)(g, &cells, x_plane + lane, dy_cell + lane, dx_plane + lane);
            }
        }
    }
}

/* dy of one window over its cells. */
static void
GCAM_FN(blocked_spread)(const gcam_blocked_pool_geom *g, const GCAM_FN(blocked_cells) * cells,
                        const real_t *restrict dy, real_t count, real_t *restrict dx)
{
    const ptrdiff_t h_step = g->pool.dilation[1], w_step = g->pool.dilation[2];
    for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
        const vreal share = V(load)(dy + lane) / V(set1)(count);
        for (ptrdiff_t h = cells->low[0]; h <= cells->high[0]; h += h_step) {
            for (ptrdiff_t w = cells->low[1]; w <= cells->high[1]; w += w_step) {
                real_t *cell = dx + h * g->in.row + w * GCAM_BLOCK + lane;
                V(store)(cell, V(add)(V(load)(cell), share));
            }
        }
    }
}

/* Workers share the blocks. */
static void
GCAM_FN(blocked_average_pool_input_grad)(const gcam_blocked_pool_geom *g, const real_t *restrict dy,
                                         real_t *restrict dx, void *scratch, int worker, int workers)
{
    const gcam_blocked *in = &g->in, *out = &g->out;
    real_t *counts = scratch;
    GCAM_FN(pool_counts)(&g->pool, counts);
    ptrdiff_t begin, end;
    gcam_share(in->n * in->blocks, worker, workers, &begin, &end);
    memset(dx + begin * in->plane, 0, (size_t)((end - begin) * in->plane) * sizeof *dx);
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        for (ptrdiff_t o = 0; o < out->h * out->w; o++) {
            const ptrdiff_t oh = o / out->w, ow = o % out->w;
            GCAM_FN(blocked_cells) cells;
            if (GCAM_FN(blocked_window_cells)(&g->pool, oh, ow, &cells)) {
                GCAM_FN(blocked_spread)(
                    g, &cells, dy + plane * out->plane + out->origin + oh * out->row + ow * GCAM_BLOCK,
                    (real_t)gcam_pool_count(&g->pool, 1, oh) * counts[ow], dx + plane * in->plane + in->origin);
            }
        }
    }
}
