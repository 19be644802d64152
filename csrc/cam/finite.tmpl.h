/* Kernels of cam/finite.h. Uses cam/fold.tmpl.h. */

static void
GCAM_FN(cam_finite)(const gcam_finite_geom *f, const real_t *restrict activation, const real_t *restrict gradient,
                    real_t *restrict mask, void *scratch, int worker, int workers)
{
    (void)scratch;
    const double none[GCAM_FOLD_CHANNELS] = {0};
    ptrdiff_t begin, end;
    gcam_share(f->a.channels, worker, workers, &begin, &end);
    for (ptrdiff_t k = begin; k < end; k += GCAM_FOLD_CHANNELS) {
        const ptrdiff_t n = end - k < GCAM_FOLD_CHANNELS ? end - k : GCAM_FOLD_CHANNELS;
        double a_count[GCAM_FOLD_CHANNELS], g_count[GCAM_FOLD_CHANNELS] = {0};
        GCAM_FN(fold)(GCAM_FOLD_NONFINITE, &f->a, k, n, activation, none, a_count);
        if (f->has_g) {
            GCAM_FN(fold)(GCAM_FOLD_NONFINITE, &f->g, k, n, gradient, none, g_count);
        }
        for (ptrdiff_t c = 0; c < n; c++) {
            mask[k + c] = a_count[c] + g_count[c] > 0 ? 1 : 0;
        }
    }
}

static void
GCAM_FN(cam_drop)(const gcam_drop_geom *g, const real_t *restrict x, const real_t *restrict mask, real_t *restrict y,
                  void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->outer * g->channels, worker, workers, &begin, &end);
    /* Rows of `inner` numbers, so many at a time as go to the last channel. */
    for (ptrdiff_t row = begin, n; row < end; row += n) {
        const ptrdiff_t k = row % g->channels;
        n = end - row < g->channels - k ? end - row : g->channels - k;
        if (g->inner == 1) {
            for (ptrdiff_t c = 0; c < n; c++) {
                y[row + c] = mask[k + c] != 0 ? 0 : x[row + c];
            }
        } else {
            for (ptrdiff_t c = 0; c < n; c++) {
                const bool drop = mask[k + c] != 0;
                for (ptrdiff_t i = (row + c) * g->inner; i < (row + c + 1) * g->inner; i++) {
                    y[i] = drop ? 0 : x[i];
                }
            }
        }
    }
}
