/* Max pooling that remembers where its maxima lie, and the gradient from that (blocked/pool.h). */

/* The maximum of taps_h x taps_w cells, and its tap: tap 0 of them is number `first` of the window, a row of the window
 * has `kernel` taps. */
GCAM_INLINE void
GCAM_FN(blocked_choose)(const real_t *restrict x, ptrdiff_t taps_h, ptrdiff_t taps_w, ptrdiff_t h_step,
                        ptrdiff_t w_step, ptrdiff_t first, ptrdiff_t kernel, real_t *restrict y,
                        uint8_t *restrict index)
{
    for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
        vreal largest = V(set1)(-(real_t)INFINITY);
        V(mask) chosen = {0}, tap;
        chosen += (int)first; /* a window whose cells are all -inf gives its gradient to the first one */
        for (ptrdiff_t h = 0; h < taps_h; h++) {
            tap = (V(mask)){0} + (int)(first + h * kernel);
            for (ptrdiff_t w = 0; w < taps_w; w++) {
                const vreal value = V(load)(x + h * h_step + w * w_step + lane);
                /* larger, or the first NaN */
                const V(mask) better = ~(value <= largest) & (largest == largest);
                chosen = (better & tap) | (~better & chosen);
                largest = GCAM_FN(blocked_select)(better, value, largest);
                tap += 1;
            }
        }
        V(store)(y + lane, largest);
        V(store_bytes)(index + lane, chosen);
    }
}

/* Workers share the rows of all blocks of y. */
static void
GCAM_FN(blocked_max_pool_index)(const gcam_blocked_pool_geom *g, const real_t *restrict x, real_t *restrict y,
                                uint8_t *restrict index, void *scratch, int worker, int workers)
{
    const gcam_blocked *in = &g->in, *out = &g->out;
    const gcam_pool_geom *pool = &g->pool;
    const ptrdiff_t h_step = pool->dilation[1] * in->row, w_step = pool->dilation[2] * GCAM_BLOCK;
    const ptrdiff_t kernel = pool->kernel[2];
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(out->n * out->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(out, y, begin, end);
    gcam_share(out->n * out->blocks * out->h, worker, workers, &begin, &end);
    for (ptrdiff_t line = begin; line < end; line++) {
        const ptrdiff_t plane = line / out->h, oh = line % out->h;
        const real_t *x_plane = x + plane * in->plane + in->origin;
        ptrdiff_t h_first, h_end, w_first, w_end;
        gcam_pool_taps(pool, 1, oh, 0, in->h, &h_first, &h_end);
        const ptrdiff_t h = oh * pool->stride[1] - pool->pad_lo[1] + h_first * pool->dilation[1];
        for (ptrdiff_t ow = 0; ow < out->w; ow++) {
            real_t *y_cell = y + plane * out->plane + out->origin + oh * out->row + ow * GCAM_BLOCK;
            uint8_t *index_cell = index + (line * out->w + ow) * GCAM_BLOCK;
            gcam_pool_taps(pool, 2, ow, 0, in->w, &w_first, &w_end);
            const ptrdiff_t taps_h = h_end - h_first, taps_w = w_end - w_first;
            if (taps_h == 0 || taps_w == 0) {
                GCAM_FN(pool_fill)(y_cell, GCAM_BLOCK, -(real_t)INFINITY);
                memset(index_cell, GCAM_NO_TAP, GCAM_BLOCK);
                continue;
            }
            const ptrdiff_t w = ow * pool->stride[2] - pool->pad_lo[2] + w_first * pool->dilation[2];
            const real_t *cell = x_plane + h * in->row + w * GCAM_BLOCK;
            const ptrdiff_t first = h_first * kernel + w_first;
            if (taps_h == 2 && taps_w == 2) {
                GCAM_FN(blocked_choose)(cell, 2, 2, h_step, w_step, first, kernel, y_cell, index_cell);
            } else if (taps_h == 3 && taps_w == 3) {
                GCAM_FN(blocked_choose)(cell, 3, 3, h_step, w_step, first, kernel, y_cell, index_cell);
            } else {
                GCAM_FN(blocked_choose)(cell, taps_h, taps_w, h_step, w_step, first, kernel, y_cell, index_cell);
            }
        }
    }
}

/* Adds what a window gives to its taps [low, high) of one row of it; tap 0 of that row is number `first` of the window.
 */
GCAM_INLINE void
GCAM_FN(blocked_give)(const uint8_t *restrict index, const real_t *restrict dy, ptrdiff_t first, ptrdiff_t low,
                      ptrdiff_t high, ptrdiff_t step, real_t *restrict cell)
{
    for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
        const V(mask) chosen = V(load_bytes)(index + lane), gradient = (V(mask))V(load)(dy + lane);
        for (ptrdiff_t t = low; t < high; t++) {
            real_t *dx = cell + t * step + lane;
            const V(mask) tap = (V(mask)){0} + (int)(first + t);
            V(store)(dx, V(add)(V(load)(dx), (vreal)((chosen == tap) & gradient)));
        }
    }
}

/* The same for all windows of a row; [low, high) are those that end neither side cuts, of `kernel` taps. */
GCAM_INLINE void
GCAM_FN(blocked_give_row)(const gcam_blocked_pool_geom *g, const uint8_t *restrict index, const real_t *restrict dy,
                          ptrdiff_t first, ptrdiff_t low, ptrdiff_t high, ptrdiff_t kernel, ptrdiff_t step,
                          real_t *restrict dx)
{
    const gcam_pool_geom *pool = &g->pool;
    const ptrdiff_t stride = pool->stride[2] * GCAM_BLOCK;
    real_t *cell = dx - pool->pad_lo[2] * GCAM_BLOCK;
    for (ptrdiff_t o = 0; o < g->out.w; o++) {
        if (o >= low && o < high) {
            GCAM_FN(blocked_give)
            (index + o * GCAM_BLOCK, dy + o * GCAM_BLOCK, first, 0, kernel, step, cell + o * stride);
        } else {
            ptrdiff_t from, to;
            gcam_pool_taps(pool, 2, o, 0, g->in.w, &from, &to);
            GCAM_FN(blocked_give)
            (index + o * GCAM_BLOCK, dy + o * GCAM_BLOCK, first, from, to, step, cell + o * stride);
        }
    }
}

/* Workers share the rows of all blocks of dx: each collects, in the order of the windows, what its rows are given. */
static void
GCAM_FN(blocked_max_pool_index_grad)(const gcam_blocked_pool_geom *g, const uint8_t *restrict index,
                                     const real_t *restrict dy, real_t *restrict dx, void *scratch, int worker,
                                     int workers)
{
    const gcam_blocked *in = &g->in, *out = &g->out;
    const gcam_pool_geom *pool = &g->pool;
    const ptrdiff_t kernel = pool->kernel[2], step = pool->dilation[2] * GCAM_BLOCK;
    const ptrdiff_t room = in->w + pool->pad_lo[2] - (kernel - 1) * pool->dilation[2] - 1;
    const ptrdiff_t low = (pool->pad_lo[2] + pool->stride[2] - 1) / pool->stride[2];
    const ptrdiff_t high = room < 0 ? 0 : room / pool->stride[2] + 1;
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(in->n * in->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(in, dx, begin, end);
    gcam_share(in->n * in->blocks * in->h, worker, workers, &begin, &end);
    for (ptrdiff_t line = begin; line < end; line++) {
        const ptrdiff_t plane = line / in->h, h = line % in->h;
        real_t *dx_row = dx + plane * in->plane + in->origin + h * in->row;
        memset(dx_row, 0, (size_t)(in->w * GCAM_BLOCK) * sizeof *dx_row);
        for (ptrdiff_t t = pool->kernel[1] - 1; t >= 0; t--) { /* later taps belong to earlier windows */
            const ptrdiff_t start = h + pool->pad_lo[1] - t * pool->dilation[1], oh = start / pool->stride[1];
            if (start < 0 || start % pool->stride[1] != 0 || oh >= out->h) {
                continue;
            }
            const uint8_t *from = index + (plane * out->h + oh) * out->w * GCAM_BLOCK;
            const real_t *dy_row = dy + plane * out->plane + out->origin + oh * out->row;
            if (kernel == 2 && step == GCAM_BLOCK) {
                GCAM_FN(blocked_give_row)(g, from, dy_row, t * 2, low, high, 2, GCAM_BLOCK, dx_row);
            } else if (kernel == 3 && step == GCAM_BLOCK) {
                GCAM_FN(blocked_give_row)(g, from, dy_row, t * 3, low, high, 3, GCAM_BLOCK, dx_row);
            } else {
                GCAM_FN(blocked_give_row)(g, from, dy_row, t * kernel, low, high, kernel, step, dx_row);
            }
        }
    }
}
