/* Kernels of blocked/stem.h: register tiles of pixels x two vectors of channels, fed from padded rows, so that the loop
 * over the products has no bounds to test. */
#if GCAM_VEC_BYTES == 64
#define STEM_PIXELS 14
#elif GCAM_REGISTERS == 32 /* pixels take registers where a product cannot read them from memory */
#define STEM_PIXELS 12
#else
#define STEM_PIXELS 6
#endif
#define STEM_FEW (STEM_PIXELS / 2)
#define STEM_VECTORS 2

static void
GCAM_FN(blocked_stem_pack)(const gcam_blocked_stem_pack_geom *g, const real_t *restrict w, real_t *restrict packed,
                           void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share((g->k + GCAM_BLOCK - 1) / GCAM_BLOCK, worker, workers, &begin, &end);
    for (ptrdiff_t block = begin; block < end; block++) {
        for (ptrdiff_t d = 0; d < g->depth; d++) {
            real_t *lanes = packed + (block * g->depth + d) * GCAM_BLOCK;
            for (ptrdiff_t i = 0; i < GCAM_BLOCK; i++) {
                const ptrdiff_t channel = block * GCAM_BLOCK + i;
                lanes[i] = channel < g->k ? w[channel * g->depth + d] : 0;
            }
        }
    }
}

/* The padded rows of all channels under rows [begin, end) of y. */
static void
GCAM_FN(stem_gather)(const gcam_blocked_stem_geom *g, const real_t *restrict x, ptrdiff_t begin, ptrdiff_t end,
                     real_t *restrict rows)
{
    const gcam_window *window = &g->window;
    const ptrdiff_t first = begin * window->stride[0] - window->pad_lo[0];
    const ptrdiff_t count = (end - 1 - begin) * window->stride[0] + (window->kernel[0] - 1) * window->dilation[0] + 1;
    const size_t left = (size_t)window->pad_lo[1], right = (size_t)window->pad_hi[1], width = (size_t)g->w;
    for (ptrdiff_t c = 0; c < g->c; c++) {
        for (ptrdiff_t i = 0; i < count; i++) {
            real_t *row = rows + (c * g->rows + i) * g->cells;
            const ptrdiff_t from = first + i;
            if (from < 0 || from >= g->h) {
                memset(row, 0, (size_t)g->cells * sizeof *row);
            } else {
                memset(row, 0, left * sizeof *row);
                memcpy(row + left, x + (c * g->h + from) * g->w, width * sizeof *row);
                memset(row + left + width, 0, right * sizeof *row);
            }
        }
    }
}

/* One row of y for `vectors` vectors of channels, which may lie in two blocks. */
typedef struct {
    const real_t *rows; /* padded row of the first tap */
    const real_t *packed[STEM_VECTORS];
    real_t *y[STEM_VECTORS];
    vreal bias[STEM_VECTORS], low, high;
    ptrdiff_t op; /* of a short epilogue, else -1 */
} GCAM_FN(stem_row);

/* Pixels [j, j + pixels); pixels, vectors and step (the horizontal stride) are constants where it matters. */
GCAM_INLINE void
GCAM_FN(stem_tile)(const gcam_blocked_stem_geom *g, const GCAM_FN(stem_row) * row, const int pixels, const int vectors,
                   const ptrdiff_t step, ptrdiff_t j)
{
    const ptrdiff_t height = g->window.kernel[0], width = g->window.kernel[1], tap = g->window.dilation[1];
    const ptrdiff_t tap_row = g->window.dilation[0] * g->cells, plane = g->rows * g->cells;
    const real_t *restrict packed[STEM_VECTORS];
    vreal sum[STEM_PIXELS][STEM_VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        packed[v] = row->packed[v];
#pragma GCC unroll 14
        for (int p = 0; p < pixels; p++) {
            sum[p][v] = row->bias[v];
        }
    }
    for (ptrdiff_t c = 0; c < g->c; c++) {
        for (ptrdiff_t th = 0; th < height; th++) {
            const real_t *restrict x = row->rows + c * plane + th * tap_row + j * step;
            for (ptrdiff_t tw = 0; tw < width; tw++, x += tap) {
                vreal weights[STEM_VECTORS];
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) {
                    weights[v] = V(load)(packed[v]);
                    packed[v] += GCAM_BLOCK;
                }
#pragma GCC unroll 14
                for (int p = 0; p < pixels; p++) {
                    const vreal pixel = V(set1)(x[p * step]);
#pragma GCC unroll 2
                    for (int v = 0; v < vectors; v++) {
                        sum[p][v] = V(fma)(pixel, weights[v], sum[p][v]);
                    }
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        real_t *restrict y = row->y[v] + j * GCAM_BLOCK;
#pragma GCC unroll 14
        for (int p = 0; p < pixels; p++) {
            V(store)(y + p * GCAM_BLOCK, GCAM_FN(blocked_short)(row->op, row->low, row->high, sum[p][v]));
        }
    }
}

/* A row of `w` pixels; a tile that would pass its end moves back and computes some pixels again. */
GCAM_INLINE void
GCAM_FN(stem_tiles)(const gcam_blocked_stem_geom *g, const GCAM_FN(stem_row) * row, const int vectors,
                    const ptrdiff_t step)
{
    const ptrdiff_t w = g->out.w;
    ptrdiff_t j = 0;
    for (; w - j >= STEM_PIXELS || (w - j > STEM_FEW && w >= STEM_PIXELS); j += STEM_PIXELS) {
        GCAM_FN(stem_tile)(g, row, STEM_PIXELS, vectors, step, j < w - STEM_PIXELS ? j : w - STEM_PIXELS);
    }
    for (; j < w && w >= STEM_FEW; j += STEM_FEW) {
        GCAM_FN(stem_tile)(g, row, STEM_FEW, vectors, step, j < w - STEM_FEW ? j : w - STEM_FEW);
    }
    for (; j < w; j++) {
        GCAM_FN(stem_tile)(g, row, 1, vectors, step, j);
    }
}

/* The strides of known networks are constants: then the pixels of a tile have constant distances. */
static void
GCAM_FN(stem_fill_row)(const gcam_blocked_stem_geom *g, const GCAM_FN(stem_row) * row, ptrdiff_t vectors)
{
    const ptrdiff_t step = g->window.stride[1];
    if (vectors < STEM_VECTORS) {
        GCAM_FN(stem_tiles)(g, row, 1, step);
    } else if (step == 1) {
        GCAM_FN(stem_tiles)(g, row, STEM_VECTORS, 1);
    } else if (step == 2) {
        GCAM_FN(stem_tiles)(g, row, STEM_VECTORS, 2);
    } else {
        GCAM_FN(stem_tiles)(g, row, STEM_VECTORS, step);
    }
}

/* Row i of all channels of picture n; `rows` is the padded row of its first tap. */
static void
GCAM_FN(stem_fill)(const gcam_blocked_stem_geom *g, const real_t *rows, const real_t *packed, const real_t *bias,
                   const real_t *residual, ptrdiff_t n, ptrdiff_t i, real_t *y)
{
    const gcam_epilogue *e = &g->epilogue;
    const gcam_blocked *out = &g->out, *r = &e->residual;
    const bool is_short = GCAM_FN(blocked_is_short)(e);
    const ptrdiff_t channels = out->blocks * GCAM_BLOCK;
    real_t *y_row = y + n * out->picture + out->origin + i * out->row;
    GCAM_FN(stem_row)
    row = {
        .rows = rows,
        .low = V(set1)((real_t)e->alpha),
        .high = V(set1)((real_t)e->beta),
        .op = is_short ? e->op : -1,
    };
    for (ptrdiff_t channel = 0; channel < channels; channel += STEM_VECTORS * VLANES) {
        ptrdiff_t vectors = 0;
        for (; vectors < STEM_VECTORS && channel + vectors * VLANES < channels; vectors++) {
            const ptrdiff_t first = channel + vectors * VLANES, block = first / GCAM_BLOCK, lane = first % GCAM_BLOCK;
            real_t lanes[GCAM_BLOCK];
            GCAM_FN(blocked_lanes)(bias, out->c, block, lanes);
            row.bias[vectors] = V(load)(lanes + lane);
            row.packed[vectors] = packed + block * g->depth * GCAM_BLOCK + lane;
            row.y[vectors] = y_row + block * out->plane + lane;
        }
        GCAM_FN(stem_fill_row)(g, &row, vectors);
    }
    for (ptrdiff_t block = 0; block < out->blocks && !is_short; block++) {
        const real_t *from = residual == NULL ? NULL : residual + n * r->picture + r->origin + i * r->row;
        GCAM_FN(blocked_finish)(e, from == NULL ? NULL : from + block * r->plane, y_row + block * out->plane,
                                out->w * GCAM_BLOCK);
    }
}

/* Workers share the rows of all pictures, whatever their channels. */
static void
GCAM_FN(blocked_stem_output)(const gcam_blocked_stem_geom *g, const real_t *restrict x, const real_t *restrict packed,
                             const real_t *restrict bias, const real_t *restrict residual, real_t *restrict y,
                             void *scratch, int worker, int workers)
{
    const gcam_blocked *out = &g->out;
    real_t *rows = scratch;
    ptrdiff_t begin, end;
    gcam_share(out->n * out->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(out, y, begin, end);
    gcam_share(out->n * out->h, worker, workers, &begin, &end);
    while (begin < end) {
        const ptrdiff_t n = begin / out->h, i = begin % out->h, left = end - begin;
        ptrdiff_t count = out->h - i < GCAM_STEM_ROWS ? out->h - i : GCAM_STEM_ROWS;
        count = count < left ? count : left;
        GCAM_FN(stem_gather)(g, x + n * g->c * g->h * g->w, i, i + count, rows);
        for (ptrdiff_t k = 0; k < count; k++) {
            GCAM_FN(stem_fill)(g, rows + k * g->window.stride[0] * g->cells, packed, bias, residual, n, i + k, y);
        }
        begin += count;
    }
}
#undef STEM_VECTORS
#undef STEM_FEW
#undef STEM_PIXELS
