/* Kernels of cam/fem.h. Uses cam/cam.tmpl.h, cam/cam_map.tmpl.h and cam/fold.tmpl.h. */

/* The smallest real_t that is not below t. */
GCAM_INLINE real_t
GCAM_FN(fem_round_up)(double t)
{
    const real_t rounded = (real_t)t;
#if GCAM_DTYPE_IS_F32
    return (double)rounded < t ? nextafterf(rounded, INFINITY) : rounded;
#else
    return rounded;
#endif
}

static void
GCAM_FN(cam_fem_weights)(const gcam_fem_geom *g, const real_t *restrict activation, real_t *restrict weights,
                         real_t *restrict thresholds, void *scratch, int worker, int workers)
{
    (void)scratch;
    const double positions = (double)g->a.positions;
    ptrdiff_t begin, end;
    gcam_share(g->a.channels, worker, workers, &begin, &end);
    for (ptrdiff_t k = begin; k < end; k += GCAM_FOLD_CHANNELS) {
        const ptrdiff_t n = end - k < GCAM_FOLD_CHANNELS ? end - k : GCAM_FOLD_CHANNELS;
        double first[GCAM_FOLD_CHANNELS] = {0}, mean[GCAM_FOLD_CHANNELS] = {0}, limit[GCAM_FOLD_CHANNELS] = {0};
        double others[GCAM_FOLD_CHANNELS], sums[GCAM_FOLD_CHANNELS];
        for (ptrdiff_t c = 0; c < n; c++) {
            first[c] = (double)activation[(k + c) * g->a.at.c];
        }
        GCAM_FN(fold)(GCAM_FOLD_OTHER, &g->a, k, n, activation, first, others);
        GCAM_FN(fold)(GCAM_FOLD_VALUE, &g->a, k, n, activation, first, sums);
        for (ptrdiff_t c = 0; c < n; c++) {
            mean[c] = sums[c] / positions;
        }
        GCAM_FN(fold)(GCAM_FOLD_DEVIATION, &g->a, k, n, activation, mean, sums);
        for (ptrdiff_t c = 0; c < n; c++) {
            const bool constant = others[c] == 0 && isfinite(first[c]);
            limit[c] = constant ? (double)INFINITY : mean[c] + 2 * sqrt(sums[c] / positions);
            thresholds[k + c] = GCAM_FN(fem_round_up)(limit[c]);
        }
        if (g->variant == 1) {
            GCAM_FN(fold)(GCAM_FOLD_ABOVE, &g->a, k, n, activation, limit, sums);
        }
        for (ptrdiff_t c = 0; c < n; c++) {
            weights[k + c] = (real_t)(g->variant == 1 ? sums[c] / positions : mean[c]);
        }
    }
}

GCAM_INLINE gcam_vec_f64
GCAM_FN(fem_term)(gcam_vec_f64 weight, gcam_vec_f64 limit, gcam_vec_f64 a)
{
    return weight * GCAM_FN(cam_keep)(a >= limit, gcam_set1_f64(1));
}

/* map[x] of n <= GCAM_CAM_TILE positions. */
GCAM_INLINE void
GCAM_FN(fem_rows)(ptrdiff_t channels, ptrdiff_t n, const real_t *restrict weights, const real_t *restrict thresholds,
                  const real_t *restrict a, ptrdiff_t ac, ptrdiff_t ax, real_t *restrict map)
{
    double sums[GCAM_CAM_TILE] = {0};
    for (ptrdiff_t k = 0; k < channels; k++) {
        const gcam_vec_f64 weight = gcam_set1_f64((double)weights[k]), limit = gcam_set1_f64((double)thresholds[k]);
        for (ptrdiff_t x = 0; x < n; x += GCAM_LANES_F64) {
            const gcam_vec_f64 value = GCAM_FN(cam_load)(a + k * ac + x * ax, ax, n - x);
            gcam_store_f64(sums + x, gcam_load_f64(sums + x) + GCAM_FN(fem_term)(weight, limit, value));
        }
    }
    for (ptrdiff_t x = 0; x < n; x++) {
        map[x] = (real_t)sums[x];
    }
}

/* Adds n channels (as many as lanes, or fewer) to the sums of as many positions as lanes, where channels are adjacent.
 */
GCAM_INLINE gcam_vec_f64
GCAM_FN(fem_square)(ptrdiff_t n, const real_t *weights, const real_t *thresholds, const real_t *a, ptrdiff_t ax,
                    gcam_vec_f64 sum)
{
    const gcam_vec_f64 weight = GCAM_FN(cam_load)(weights, 1, n), limit = GCAM_FN(cam_load)(thresholds, 1, n);
    gcam_vec_f64 terms[GCAM_LANES_F64];
    for (ptrdiff_t x = 0; x < GCAM_LANES_F64; x++) {
        terms[x] = GCAM_FN(fem_term)(weight, limit, GCAM_FN(cam_load)(a + x * ax, 1, n));
    }
    GCAM_FN(cam_transpose)(terms);
    for (int k = 0; k < GCAM_LANES_F64; k++) {
        sum += terms[k];
    }
    return sum;
}

/* map[x] of as many positions as lanes. */
GCAM_INLINE void
GCAM_FN(fem_columns)(ptrdiff_t channels, const real_t *restrict weights, const real_t *restrict thresholds,
                     const real_t *restrict a, ptrdiff_t ax, real_t *restrict map)
{
    gcam_vec_f64 sum = {0};
    ptrdiff_t k = 0;
    for (; k + GCAM_LANES_F64 <= channels; k += GCAM_LANES_F64) {
        sum = GCAM_FN(fem_square)(GCAM_LANES_F64, weights + k, thresholds + k, a + k, ax, sum);
    }
    if (k < channels) {
        sum = GCAM_FN(fem_square)(channels - k, weights + k, thresholds + k, a + k, ax, sum);
    }
    for (int x = 0; x < GCAM_LANES_F64; x++) {
        map[x] = (real_t)sum[x];
    }
}

static void
GCAM_FN(cam_fem_map)(const gcam_fem_geom *g, const real_t *restrict weights, const real_t *restrict thresholds,
                     const real_t *restrict activation, real_t *restrict map, void *scratch, int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t channels = g->a.channels, groups = (g->a.positions - 1) / GCAM_CAM_GROUP + 1;
    const gcam_cam_strides at = g->a.at;
    ptrdiff_t begin, end;
    gcam_share(groups, worker, workers, &begin, &end);
    ptrdiff_t x = begin * GCAM_CAM_GROUP;
    end = end == groups ? g->a.positions : end * GCAM_CAM_GROUP;
    if (at.x == 1) {
        for (; x < end; x += GCAM_CAM_TILE) {
            const ptrdiff_t n = end - x < GCAM_CAM_TILE ? end - x : GCAM_CAM_TILE;
            GCAM_FN(fem_rows)(channels, n, weights, thresholds, activation + x, at.c, 1, map + x);
        }
        return;
    }
    for (; at.c == 1 && x + GCAM_LANES_F64 <= end; x += GCAM_LANES_F64) {
        GCAM_FN(fem_columns)(channels, weights, thresholds, activation + x * at.x, at.x, map + x);
    }
    for (; x < end; x += GCAM_LANES_F64) {
        const ptrdiff_t n = end - x < GCAM_LANES_F64 ? end - x : GCAM_LANES_F64;
        GCAM_FN(fem_rows)(channels, n, weights, thresholds, activation + x * at.x, at.c, at.x, map + x);
    }
}
