/* Kernels of blocked/channel.h. */

/* sums[...] = the sums of a row of pixels added, 4 x 16 numbers. */
static void
GCAM_FN(channel_add_row)(const real_t *restrict x, ptrdiff_t w, double *restrict sums)
{
    for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane += GCAM_LANES_F64) {
        gcam_vec_f64 sum[CHANNEL_SUMS];
        for (int s = 0; s < CHANNEL_SUMS; s++) {
            sum[s] = gcam_load_f64(sums + s * GCAM_BLOCK + lane);
        }
        ptrdiff_t j = 0;
        for (; j + CHANNEL_SUMS <= w; j += CHANNEL_SUMS) {
            for (int s = 0; s < CHANNEL_SUMS; s++) {
                sum[s] = gcam_add_f64(sum[s], V(widen)(x + (j + s) * GCAM_BLOCK + lane));
            }
        }
        for (; j < w; j++) {
            sum[0] = gcam_add_f64(sum[0], V(widen)(x + j * GCAM_BLOCK + lane));
        }
        for (int s = 0; s < CHANNEL_SUMS; s++) {
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
        double sums[CHANNEL_SUMS * GCAM_BLOCK] = {0};
        for (ptrdiff_t i = 0; i < in->h; i++) {
            GCAM_FN(channel_add_row)(x + plane * in->plane + in->origin + i * in->row, in->w, sums);
        }
        const ptrdiff_t first = plane % in->blocks * GCAM_BLOCK;
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK && first + lane < in->c; lane++) {
            double sum = 0;
            for (int s = 0; s < CHANNEL_SUMS; s++) {
                sum += sums[s * GCAM_BLOCK + lane];
            }
            y[plane / in->blocks * in->c + first + lane] = (real_t)(sum / pixels);
        }
    }
}

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

/* sums[r] += the row's outputs whose tap r along the row lies inside the input; many taps have the same outputs. */
static void
GCAM_FN(blocked_tap_row)(const gcam_conv_geom *conv, const real_t *restrict row, double *restrict sums)
{
    double lanes[GCAM_BLOCK] = {0};
    ptrdiff_t first = 0, end = 0;
    for (ptrdiff_t tap = 0; tap < conv->kernel[2]; tap++) {
        const ptrdiff_t old_first = first, old_end = end;
        gcam_conv_tap_outputs(conv, 2, tap, &first, &end);
        if (tap == 0 || first != old_first || end != old_end) {
            double parts[CHANNEL_SUMS * GCAM_BLOCK] = {0};
            GCAM_FN(channel_add_row)(row + first * GCAM_BLOCK, end - first, parts);
            for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane++) {
                lanes[lane] = 0;
                for (int s = 0; s < CHANNEL_SUMS; s++) {
                    lanes[lane] += parts[s * GCAM_BLOCK + lane];
                }
            }
        }
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane++) {
            sums[tap * GCAM_BLOCK + lane] += lanes[lane];
        }
    }
}

/* Workers share the blocks. */
static void
GCAM_FN(blocked_tap_sums)(const gcam_blocked_taps_geom *g, const real_t *restrict dy, real_t *restrict t, void *scratch,
                          int worker, int workers)
{
    const gcam_blocked *from = &g->from;
    const gcam_conv_geom *conv = &g->taps.conv;
    const ptrdiff_t taps = g->taps.taps, width = conv->kernel[2];
    double *sums = scratch;
    ptrdiff_t begin, end;
    gcam_share(from->n * from->blocks, worker, workers, &begin, &end);
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        memset(sums, 0, (size_t)(taps * GCAM_BLOCK) * sizeof *sums);
        for (ptrdiff_t tap = 0; tap < conv->kernel[1]; tap++) {
            ptrdiff_t h, h_end;
            gcam_conv_tap_outputs(conv, 1, tap, &h, &h_end);
            for (; h < h_end; h++) {
                GCAM_FN(blocked_tap_row)(conv, dy + plane * from->plane + from->origin + h * from->row,
                                         sums + tap * width * GCAM_BLOCK);
            }
        }
        const ptrdiff_t first = plane % from->blocks * GCAM_BLOCK;
        real_t *place = t + (plane / from->blocks * from->c + first) * taps;
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK && first + lane < from->c; lane++) {
            for (ptrdiff_t r = 0; r < taps; r++) {
                *place++ = (real_t)sums[r * GCAM_BLOCK + lane];
            }
        }
    }
}
