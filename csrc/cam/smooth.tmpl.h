/* Kernels of cam/smooth.h. */

/* Means over the samples of the powers of the gradient at one place. */
typedef struct {
    double first, second, third, last;
} GCAM_FN(cam_moments);

GCAM_INLINE
GCAM_FN(cam_moments) GCAM_FN(cam_smooth_moments)(const real_t *g, ptrdiff_t samples, ptrdiff_t block)
{
    GCAM_FN(cam_moments) m = {0, 0, 0, 0};
    for (ptrdiff_t i = 0; i < samples; i++) {
        const double v = (double)g[i * block];
        m.first += v;
        m.second += v * v;
        m.third += v * v * v;
        m.last = v;
    }
    m.first /= (double)samples;
    m.second /= (double)samples;
    m.third /= (double)samples;
    return m;
}

static void
GCAM_FN(cam_smooth_weights)(const gcam_cam_smooth_geom *g, const real_t *restrict activation,
                            const real_t *restrict gradient, real_t *restrict weights, real_t *restrict degenerate,
                            void *scratch, int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t block = g->channels * g->positions;
    const ptrdiff_t channel = g->channels_last ? 1 : g->positions, step = g->channels_last ? g->channels : 1;
    ptrdiff_t begin, end;
    gcam_share(g->channels, worker, workers, &begin, &end);
    for (ptrdiff_t k = begin; k < end; k++) {
        double total = 0, sum = 0;
        bool dropped = false;
        for (ptrdiff_t x = 0; x < g->positions; x++) {
            const ptrdiff_t at = k * channel + x * step;
            total += (double)activation[at] * GCAM_FN(cam_smooth_moments)(gradient + at, g->samples, block).third;
        }
        for (ptrdiff_t x = 0; x < g->positions; x++) {
            const GCAM_FN(cam_moments) m =
                GCAM_FN(cam_smooth_moments)(gradient + k * channel + x * step, g->samples, block);
            const double r = g->variant == 0 ? m.first : m.last, divisor = 2 * m.second + total + g->epsilon;
            if (g->variant == 0 && divisor == 0) {
                dropped = dropped || m.second > 0;
            } else {
                sum += m.second / divisor * (r < 0 ? 0 : r);
            }
        }
        weights[k] = (real_t)sum;
        degenerate[k] = dropped ? 1 : 0;
    }
}
