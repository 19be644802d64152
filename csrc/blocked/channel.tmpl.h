/* Kernels of blocked/channel.h. */

/* Neighbouring pixels go to sums of their own: one sum would wait for each addition. */
#define MEAN_SUMS 4

/* sums[...] = the sums of a row of pixels added, 4 x 16 numbers. */
static void
GCAM_FN(channel_add_row)(const real_t *restrict x, ptrdiff_t w, double *restrict sums)
{
    for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += GCAM_LANES_F64) {
        gcam_vec_f64 sum[MEAN_SUMS];
        for (int s = 0; s < MEAN_SUMS; s++) {
            sum[s] = gcam_load_f64(sums + s * GCAM_BLOCK + lane);
        }
        ptrdiff_t j = 0;
        for (; j + MEAN_SUMS <= w; j += MEAN_SUMS) {
            for (int s = 0; s < MEAN_SUMS; s++) {
                sum[s] = gcam_add_f64(sum[s], V(widen)(x + (j + s) * GCAM_BLOCK + lane));
            }
        }
        for (; j < w; j++) {
            sum[0] = gcam_add_f64(sum[0], V(widen)(x + j * GCAM_BLOCK + lane));
        }
        for (int s = 0; s < MEAN_SUMS; s++) {
            gcam_store_f64(sums + s * GCAM_BLOCK + lane, sum[s]);
        }
    }
}

/* Workers share the blocks. */
static void
GCAM_FN(blocked_channel_mean)(const gcam_blocked_channel_geom *g, const real_t *restrict x, real_t *restrict y,
                              void *scratch, int worker, int workers)
{
    (void)scratch;
    const gcam_blocked *in = &g->in;
    const double pixels = (double)in->h * (double)in->w;
    ptrdiff_t begin, end;
    gcam_share(in->n * in->blocks, worker, workers, &begin, &end);
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        double sums[MEAN_SUMS * GCAM_BLOCK] = {0};
        for (ptrdiff_t i = 0; i < in->h; i++) {
            GCAM_FN(channel_add_row)(x + plane * in->plane + in->origin + i * in->row, in->w, sums);
        }
        const ptrdiff_t first = plane % in->blocks * GCAM_BLOCK;
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK && first + lane < in->c; lane++) {
            double sum = 0;
            for (int s = 0; s < MEAN_SUMS; s++) {
                sum += sums[s * GCAM_BLOCK + lane];
            }
            y[plane / in->blocks * in->c + first + lane] = (real_t)(sum / pixels);
        }
    }
}
#undef MEAN_SUMS

/* Workers share the rows of all blocks. */
static void
GCAM_FN(blocked_channel_mean_grad)(const gcam_blocked_channel_geom *g, const real_t *restrict dy, real_t *restrict dx,
                                   void *scratch, int worker, int workers)
{
    (void)scratch;
    const gcam_blocked *t = &g->in;
    const double pixels = (double)t->h * (double)t->w;
    ptrdiff_t begin, end;
    gcam_share(t->n * t->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(t, dx, begin, end);
    gcam_share(t->n * t->blocks * t->h, worker, workers, &begin, &end);
    for (ptrdiff_t line = begin; line < end; line++) {
        const ptrdiff_t plane = line / t->h;
        real_t lanes[GCAM_BLOCK], *row = dx + plane * t->plane + t->origin + line % t->h * t->row;
        GCAM_FN(blocked_lanes)(dy + plane / t->blocks * t->c, t->c, plane % t->blocks, lanes);
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane++) {
            lanes[lane] = (real_t)((double)lanes[lane] / pixels);
        }
        for (ptrdiff_t j = 0; j < t->w; j++) {
            memcpy(row + j * GCAM_BLOCK, lanes, sizeof lanes);
        }
    }
}

/* Workers share the rows of all blocks. No restrict: y may be x. */
static void
GCAM_FN(blocked_channel_scale)(const gcam_blocked_channel_geom *g, const real_t *x, const real_t *s, real_t *y,
                               void *scratch, int worker, int workers)
{
    (void)scratch;
    const gcam_blocked *in = &g->in, *out = &g->out;
    ptrdiff_t begin, end;
    gcam_share(out->n * out->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(out, y, begin, end);
    gcam_share(out->n * out->blocks * out->h, worker, workers, &begin, &end);
    for (ptrdiff_t line = begin; line < end; line++) {
        const ptrdiff_t plane = line / out->h, i = line % out->h;
        const real_t *x_row = x + plane * in->plane + in->origin + i * in->row;
        real_t lanes[GCAM_BLOCK], *y_row = y + plane * out->plane + out->origin + i * out->row;
        GCAM_FN(blocked_lanes)(s + plane / out->blocks * out->c, out->c, plane % out->blocks, lanes);
        for (ptrdiff_t j = 0; j < out->w * GCAM_BLOCK; j += GCAM_BLOCK) {
            for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += VLANES) {
                V(store)(y_row + j + lane, V(mul)(V(load)(x_row + j + lane), V(load)(lanes + lane)));
            }
        }
    }
}
