/* Kernels of blocked/depthwise.h. */

/* Outputs of a row that are worked on together: with the inputs of a row of taps and its weights they fill, but do not
 * overflow, the 32 or 16 vector registers. */
#if GCAM_REGISTERS == 32
#define DEPTHWISE_PIXELS 7
#else
#define DEPTHWISE_PIXELS 4
#endif

static void
GCAM_FN(blocked_depthwise_pack)(const gcam_blocked_depthwise_pack_geom *g, const real_t *restrict w,
                                real_t *restrict packed, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share((g->c + GCAM_BLOCK - 1) / GCAM_BLOCK, worker, workers, &begin, &end);
    for (ptrdiff_t block = begin; block < end; block++) {
        for (ptrdiff_t tap = 0; tap < g->taps; tap++) {
            real_t *lanes = packed + (block * g->taps + tap) * GCAM_BLOCK;
            for (ptrdiff_t i = 0; i < GCAM_BLOCK; i++) {
                const ptrdiff_t channel = block * GCAM_BLOCK + i;
                const ptrdiff_t from = g->gradient ? g->taps - 1 - tap : tap;
                lanes[i] = channel < g->c ? w[channel * g->taps + from] : 0;
            }
        }
    }
}

/* What the outputs of one row of one vector of channels have in common; steps in elements. */
typedef struct {
    const real_t *x, *packed; /* first tap of the first window */
    real_t *y;
    ptrdiff_t kernel[2], tap_row, tap, step;
    ptrdiff_t op; /* of a short epilogue, else -1 */
    vreal bias, low, high;
} GCAM_FN(depthwise_row);

/* Outputs [j, j + pixels) of a row. Numbers that are constants where this is inlined make a kernel of their own. */
GCAM_INLINE void
GCAM_FN(depthwise_tile)(const GCAM_FN(depthwise_row) * row, const int pixels, ptrdiff_t height, ptrdiff_t width,
                        ptrdiff_t tap, ptrdiff_t step, ptrdiff_t j)
{
    const real_t *restrict x = row->x + j * step, *restrict packed = row->packed;
    vreal sum[DEPTHWISE_PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++) {
        sum[p] = row->bias;
    }
#pragma GCC unroll 5
    for (ptrdiff_t th = 0; th < height; th++) {
#pragma GCC unroll 7
        for (ptrdiff_t tw = 0; tw < width; tw++) {
            const vreal weight = V(load)(packed + (th * width + tw) * GCAM_BLOCK);
#pragma GCC unroll 8
            for (int p = 0; p < pixels; p++) {
                sum[p] = V(fma)(V(load)(x + th * row->tap_row + tw * tap + p * step), weight, sum[p]);
            }
        }
    }
    real_t *restrict y = row->y + j * GCAM_BLOCK;
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++) {
        V(store)(y + p * GCAM_BLOCK, GCAM_FN(blocked_short)(row->op, row->low, row->high, sum[p]));
    }
}

/* A row of `w` outputs; the last tile overlaps the one before, whose numbers it computes again. */
GCAM_INLINE void
GCAM_FN(depthwise_tiles)(const GCAM_FN(depthwise_row) * row, ptrdiff_t height, ptrdiff_t width, ptrdiff_t tap,
                         ptrdiff_t step, ptrdiff_t w)
{
    for (ptrdiff_t j = 0; j < w; j += DEPTHWISE_PIXELS) {
        const ptrdiff_t last = w - DEPTHWISE_PIXELS;
        GCAM_FN(depthwise_tile)(row, DEPTHWISE_PIXELS, height, width, tap, step, j < last ? j : last);
    }
}

static void
GCAM_FN(depthwise_fill_row)(const GCAM_FN(depthwise_row) * row, ptrdiff_t w)
{
    const ptrdiff_t height = row->kernel[0], width = row->kernel[1], tap = row->tap, step = row->step;
    const bool near = tap == GCAM_BLOCK, one = near && step == GCAM_BLOCK, two = near && step == 2 * GCAM_BLOCK;
    if (w < DEPTHWISE_PIXELS) {
        for (ptrdiff_t j = 0; j < w; j++) {
            GCAM_FN(depthwise_tile)(row, 1, height, width, tap, step, j);
        }
    } else if (one && height == 3 && width == 3) {
        GCAM_FN(depthwise_tiles)(row, 3, 3, GCAM_BLOCK, GCAM_BLOCK, w);
    } else if (two && height == 3 && width == 3) {
        GCAM_FN(depthwise_tiles)(row, 3, 3, GCAM_BLOCK, 2 * GCAM_BLOCK, w);
    } else if (one && height == 5 && width == 5) {
        GCAM_FN(depthwise_tiles)(row, 5, 5, GCAM_BLOCK, GCAM_BLOCK, w);
    } else if (two && height == 5 && width == 5) {
        GCAM_FN(depthwise_tiles)(row, 5, 5, GCAM_BLOCK, 2 * GCAM_BLOCK, w);
    } else if (one && width == 7) {
        GCAM_FN(depthwise_tiles)(row, height, 7, GCAM_BLOCK, GCAM_BLOCK, w);
    } else {
        GCAM_FN(depthwise_tiles)(row, height, width, tap, step, w);
    }
}

/* Workers share the rows of all blocks of y. */
static void
GCAM_FN(blocked_depthwise_output)(const gcam_blocked_depthwise_geom *g, const real_t *restrict x,
                                  const real_t *restrict packed, const real_t *restrict bias,
                                  const real_t *restrict residual, real_t *restrict y, void *scratch, int worker,
                                  int workers)
{
    (void)scratch;
    const gcam_blocked *in = &g->in, *out = &g->out, *r = &g->epilogue.residual;
    const gcam_window *window = &g->window;
    const gcam_epilogue *e = &g->epilogue;
    const bool is_short = GCAM_FN(blocked_is_short)(e);
    GCAM_FN(depthwise_row)
    row = {
        .kernel = {window->kernel[0], window->kernel[1]},
        .tap_row = window->dilation[0] * in->row,
        .tap = window->dilation[1] * GCAM_BLOCK,
        .step = window->stride[1] * GCAM_BLOCK,
        .op = is_short ? e->op : -1,
        .low = V(set1)((real_t)e->alpha),
        .high = V(set1)((real_t)e->beta),
    };
    real_t lanes[GCAM_BLOCK] = {0};
    ptrdiff_t begin, end;
    gcam_share(out->n * out->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(out, y, begin, end);
    gcam_share(out->n * out->blocks * out->h, worker, workers, &begin, &end);
    for (ptrdiff_t line = begin; line < end; line++) {
        const ptrdiff_t plane = line / out->h, block = plane % out->blocks, i = line % out->h;
        const ptrdiff_t first = i * window->stride[0] - window->pad_lo[0];
        const real_t *x_row = x + plane * in->plane + in->origin + first * in->row - window->pad_lo[1] * GCAM_BLOCK;
        real_t *y_row = y + plane * out->plane + out->origin + i * out->row;
        if (line == begin || i == 0) {
            GCAM_FN(blocked_lanes)(bias, out->c, block, lanes);
        }
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
            row.x = x_row + lane;
            row.packed = packed + block * row.kernel[0] * row.kernel[1] * GCAM_BLOCK + lane;
            row.y = y_row + lane;
            row.bias = V(load)(lanes + lane);
            GCAM_FN(depthwise_fill_row)(&row, out->w);
        }
        if (!is_short) {
            const real_t *r_row = e->has_residual ? residual + plane * r->plane + r->origin + i * r->row : NULL;
            GCAM_FN(blocked_finish)(e, r_row, y_row, out->w * GCAM_BLOCK);
        }
    }
}
#undef DEPTHWISE_PIXELS

/* dx_row += one row of dy through one row of taps: cell by cell in the order of the taps. */
static void
GCAM_FN(depthwise_spread_row)(const gcam_blocked_depthwise_geom *g, const real_t *restrict dy_row,
                              const real_t *restrict weights, real_t *restrict dx_row)
{
    const ptrdiff_t stride = g->window.stride[1], w = g->in.w;
    for (ptrdiff_t tw = 0; tw < g->window.kernel[1]; tw++) {
        const ptrdiff_t start = tw * g->window.dilation[1] - g->window.pad_lo[1]; /* cell of output 0 */
        const ptrdiff_t first = start < 0 ? (-start + stride - 1) / stride : 0;
        const ptrdiff_t fitting = start < w ? (w - start + stride - 1) / stride : 0;
        const ptrdiff_t end = fitting < g->out.w ? fitting : g->out.w;
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
            const vreal weight = V(load)(weights + tw * GCAM_BLOCK + lane);
            for (ptrdiff_t o = first; o < end; o++) {
                real_t *cell = dx_row + (start + o * stride) * GCAM_BLOCK + lane;
                V(store)(cell, V(fma)(V(load)(dy_row + o * GCAM_BLOCK + lane), weight, V(load)(cell)));
            }
        }
    }
}

/* Workers share the rows of all blocks of dx. */
static void
GCAM_FN(blocked_depthwise_input_grad)(const gcam_blocked_depthwise_geom *g, const real_t *restrict dy,
                                      const real_t *restrict packed, real_t *restrict dx, void *scratch, int worker,
                                      int workers)
{
    (void)scratch;
    const gcam_blocked *in = &g->in, *out = &g->out;
    const gcam_window *window = &g->window;
    ptrdiff_t begin, end;
    gcam_share(in->n * in->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(in, dx, begin, end);
    gcam_share(in->n * in->blocks * in->h, worker, workers, &begin, &end);
    for (ptrdiff_t line = begin; line < end; line++) {
        const ptrdiff_t plane = line / in->h, i = line % in->h, block = plane % in->blocks;
        const real_t *dy_plane = dy + plane * out->plane + out->origin;
        real_t *dx_row = dx + plane * in->plane + in->origin + i * in->row;
        memset(dx_row, 0, (size_t)(in->w * GCAM_BLOCK) * sizeof *dx_row);
        for (ptrdiff_t th = 0; th < window->kernel[0]; th++) {
            const ptrdiff_t start = i + window->pad_lo[0] - th * window->dilation[0], o = start / window->stride[0];
            if (start >= 0 && start % window->stride[0] == 0 && o < out->h) {
                const ptrdiff_t tap = (block * window->kernel[0] + th) * window->kernel[1];
                GCAM_FN(depthwise_spread_row)(g, dy_plane + o * out->row, packed + tap * GCAM_BLOCK, dx_row);
            }
        }
    }
}
