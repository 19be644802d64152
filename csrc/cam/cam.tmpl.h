/* Kernels of cam/cam.h that sum over positions: the weights of channels. All arithmetic is in vectors of doubles.
 * Functions that take `what` are inlined with a constant, and so specialised. */

/* n numbers (all lanes if n >= GCAM_LANES_F64, else zeros behind them); a stride of 0 repeats one. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_load)(const real_t *p, ptrdiff_t stride, ptrdiff_t n)
{
    typedef real_t numbers __attribute__((vector_size(GCAM_LANES_F64 * sizeof(real_t))));
    numbers v = {0};
    if (stride == 1 && n >= GCAM_LANES_F64) {
        memcpy(&v, p, sizeof v);
    } else if (stride == 0) {
        return gcam_set1_f64((double)*p);
    } else {
        for (ptrdiff_t i = 0; i < GCAM_LANES_F64 && i < n; i++) {
            v[i] = p[i * stride];
        }
    }
    return __builtin_convertvector(v, gcam_vec_f64);
}

/* v where the mask is set, else 0. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_keep)(gcam_mask_f64 mask, gcam_vec_f64 v)
{
    return (gcam_vec_f64)(mask & (gcam_mask_f64)v);
}

GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_abs)(gcam_vec_f64 v)
{
    return (gcam_vec_f64)((gcam_mask_f64)v & (int64_t)INT64_MAX);
}

GCAM_INLINE int
GCAM_FN(cam_sums)(gcam_cam_sum what)
{
    return what == GCAM_CAM_MOMENTS ? 3 : what == GCAM_CAM_CANCELLED ? 2 : 1;
}

GCAM_INLINE void
GCAM_FN(cam_sum_terms)(gcam_cam_sum what, double epsilon, gcam_vec_f64 p, gcam_vec_f64 q, gcam_vec_f64 s,
                       gcam_vec_f64 terms[3])
{
    const gcam_vec_f64 r = gcam_relu_f64(p);
    if (what == GCAM_CAM_VALUE) {
        terms[0] = p;
    } else if (what == GCAM_CAM_CUBE) {
        terms[0] = r * r * r;
    } else if (what == GCAM_CAM_CANCELLED) {
        const gcam_vec_f64 divisor = 2.0 + r * s, bound = 1e-12 * (2.0 + GCAM_FN(cam_abs)(r * s));
        const gcam_mask_f64 cancelled = (GCAM_FN(cam_abs)(divisor) <= bound) & (bound < (double)INFINITY);
        terms[0] = GCAM_FN(cam_keep)(~cancelled, r / divisor);
        terms[1] = GCAM_FN(cam_keep)(cancelled, gcam_set1_f64(1));
    } else if (what == GCAM_CAM_DAMPED) {
        const gcam_vec_f64 square = p * p, share = square / (2.0 * square + s * (square * p) + epsilon);
        terms[0] = r * GCAM_FN(cam_keep)(p != (gcam_vec_f64){0}, share);
    } else {
        terms[0] = p * q;
        terms[1] = q;
        terms[2] = GCAM_FN(cam_abs)(q);
    }
}

/* The sums of one channel: out[0], out[GCAM_CAM_BLOCK], ... */
GCAM_INLINE void
GCAM_FN(cam_sum_row)(gcam_cam_sum what, double epsilon, ptrdiff_t positions, const real_t *p, ptrdiff_t px,
                     const real_t *q, ptrdiff_t qx, double s, double *out)
{
    enum { VECTORS = GCAM_CAM_LANES / GCAM_LANES_F64 };
    const int count = GCAM_FN(cam_sums)(what);
    const ptrdiff_t rest = positions % GCAM_CAM_LANES;
    gcam_vec_f64 sums[3][VECTORS] = {{{0}}}, terms[3];
    double partial[3][GCAM_CAM_LANES], last[3][GCAM_CAM_LANES];
    for (ptrdiff_t x = 0; x < positions - rest; x += GCAM_CAM_LANES) {
        for (ptrdiff_t j = 0; j < VECTORS; j++) {
            const ptrdiff_t y = x + j * GCAM_LANES_F64;
            GCAM_FN(cam_sum_terms)(what, epsilon, GCAM_FN(cam_load)(p + y * px, px, GCAM_LANES_F64),
                                   GCAM_FN(cam_load)(q + y * qx, qx, GCAM_LANES_F64), gcam_set1_f64(s), terms);
            for (int m = 0; m < count; m++) {
                sums[m][j] += terms[m];
            }
        }
    }
    memcpy(partial, sums, (size_t)count * sizeof partial[0]);
    if (rest > 0) {
        /* Whole vectors that end with the row; where there are not so many positions, a part of one after the other. */
        const ptrdiff_t first = positions >= GCAM_CAM_LANES ? positions - GCAM_CAM_LANES : 0;
        for (ptrdiff_t y = first; y < positions; y += GCAM_LANES_F64) {
            GCAM_FN(cam_sum_terms)(what, epsilon, GCAM_FN(cam_load)(p + y * px, px, positions - y),
                                   GCAM_FN(cam_load)(q + y * qx, qx, positions - y), gcam_set1_f64(s), terms);
            for (int m = 0; m < count; m++) {
                gcam_store_f64(&last[m][y - first], terms[m]);
            }
        }
        for (int m = 0; m < count; m++) {
            for (ptrdiff_t j = 0; j < rest; j++) {
                partial[m][j] += last[m][positions - rest - first + j];
            }
        }
    }
    for (int m = 0; m < count; m++) {
        for (int half = GCAM_CAM_LANES / 2; half > 0; half /= 2) {
            for (int j = 0; j < half; j++) {
                partial[m][j] += partial[m][j + half];
            }
        }
        out[m * GCAM_CAM_BLOCK] = partial[m][0];
    }
}

/* The same for n <= GCAM_CAM_BLOCK adjacent channels side by side. */
GCAM_INLINE void
GCAM_FN(cam_sum_columns)(gcam_cam_sum what, double epsilon, ptrdiff_t n, ptrdiff_t positions, const real_t *p,
                         ptrdiff_t px, const real_t *q, ptrdiff_t qx, const double *s, double *out)
{
    const int count = GCAM_FN(cam_sums)(what);
    double sums[3][GCAM_CAM_LANES][GCAM_CAM_BLOCK];
    gcam_vec_f64 terms[3];
    memset(sums, 0, (size_t)count * sizeof sums[0]);
    for (ptrdiff_t x = 0; x < positions; x++, p += px, q += qx) {
        const ptrdiff_t j = x % GCAM_CAM_LANES;
        ptrdiff_t c = 0;
        for (; c + GCAM_LANES_F64 <= n; c += GCAM_LANES_F64) {
            GCAM_FN(cam_sum_terms)(what, epsilon, GCAM_FN(cam_load)(p + c, 1, GCAM_LANES_F64),
                                   GCAM_FN(cam_load)(q + c, 1, GCAM_LANES_F64), gcam_load_f64(s + c), terms);
            for (int m = 0; m < count; m++) {
                gcam_store_f64(&sums[m][j][c], gcam_load_f64(&sums[m][j][c]) + terms[m]);
            }
        }
        if (c < n) {
            GCAM_FN(cam_sum_terms)(what, epsilon, GCAM_FN(cam_load)(p + c, 1, n - c),
                                   GCAM_FN(cam_load)(q + c, 1, n - c), gcam_load_f64(s + c), terms);
            for (int m = 0; m < count; m++) {
                gcam_store_f64(&sums[m][j][c], gcam_load_f64(&sums[m][j][c]) + terms[m]);
            }
        }
    }
    for (int m = 0; m < count; m++) {
        for (int half = GCAM_CAM_LANES / 2; half > 0; half /= 2) {
            for (int j = 0; j < half; j++) {
                for (ptrdiff_t c = 0; c < n; c++) {
                    sums[m][j][c] += sums[m][j + half][c];
                }
            }
        }
        memcpy(out + m * GCAM_CAM_BLOCK, sums[m][0], sizeof sums[m][0]);
    }
}

/* The sums of n <= GCAM_CAM_BLOCK channels from `first` on: sums[m][c]. */
GCAM_INLINE void
GCAM_FN(cam_sum)(gcam_cam_sum what, const gcam_cam_geom *g, ptrdiff_t first, ptrdiff_t n, const real_t *p,
                 gcam_cam_strides ps, const real_t *q, gcam_cam_strides qs, const double *s,
                 double sums[3][GCAM_CAM_BLOCK])
{
    p += first * ps.c;
    q += first * qs.c;
    if (ps.x == 1 && qs.x == 1 && g->positions > 1) {
        for (ptrdiff_t c = 0; c < n; c++) {
            GCAM_FN(cam_sum_row)(what, g->epsilon, g->positions, p + c * ps.c, 1, q + c * qs.c, 1, s[c], &sums[0][c]);
        }
    } else if (ps.c == 1 && qs.c == 1) {
        GCAM_FN(cam_sum_columns)(what, g->epsilon, n, g->positions, p, ps.x, q, qs.x, s, sums[0]);
    } else {
        for (ptrdiff_t c = 0; c < n; c++) {
            GCAM_FN(cam_sum_row)(what, g->epsilon, g->positions, p + c * ps.c, ps.x, q + c * qs.c, qs.x, s[c],
                                 &sums[0][c]);
        }
    }
}

static const double GCAM_FN(cam_no_number)[GCAM_CAM_BLOCK] = {0}; /* s of sums that use none */

static void
GCAM_FN(cam_channel_mean)(const gcam_cam_geom *g, const real_t *restrict gradient, real_t *restrict weights,
                          void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->channels, worker, workers, &begin, &end);
    for (ptrdiff_t k = begin; k < end; k += GCAM_CAM_BLOCK) {
        const ptrdiff_t n = end - k < GCAM_CAM_BLOCK ? end - k : GCAM_CAM_BLOCK;
        double sums[3][GCAM_CAM_BLOCK];
        GCAM_FN(cam_sum)(GCAM_CAM_VALUE, g, k, n, gradient, g->g, gradient, g->g, GCAM_FN(cam_no_number), sums);
        for (ptrdiff_t c = 0; c < n; c++) {
            weights[k + c] = (real_t)(sums[0][c] / (double)g->positions);
        }
    }
}

static void
GCAM_FN(cam_plusplus_weights)(const gcam_cam_geom *g, const real_t *restrict activation,
                              const real_t *restrict gradient, real_t *restrict weights, real_t *restrict degenerate,
                              void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->channels, worker, workers, &begin, &end);
    for (ptrdiff_t k = begin; k < end; k += GCAM_CAM_BLOCK) {
        const ptrdiff_t n = end - k < GCAM_CAM_BLOCK ? end - k : GCAM_CAM_BLOCK;
        double total[3][GCAM_CAM_BLOCK] = {{0}}, sums[3][GCAM_CAM_BLOCK] = {{0}};
        const double *none = GCAM_FN(cam_no_number);
        if (g->variant == 2) {
            GCAM_FN(cam_sum)(GCAM_CAM_CUBE, g, k, n, gradient, g->g, gradient, g->g, none, sums);
        } else {
            GCAM_FN(cam_sum)(GCAM_CAM_VALUE, g, k, n, activation, g->a, activation, g->a, none, total);
            if (g->variant == 1) {
                GCAM_FN(cam_sum)(GCAM_CAM_DAMPED, g, k, n, gradient, g->g, gradient, g->g, total[0], sums);
            } else {
                GCAM_FN(cam_sum)(GCAM_CAM_CANCELLED, g, k, n, gradient, g->g, gradient, g->g, total[0], sums);
            }
        }
        for (ptrdiff_t c = 0; c < n; c++) {
            weights[k + c] = (real_t)sums[0][c];
            degenerate[k + c] = sums[1][c] > 0 ? 1 : 0;
        }
    }
}

static void
GCAM_FN(cam_xgrad_weights)(const gcam_cam_geom *g, const real_t *restrict activation, const real_t *restrict gradient,
                           real_t *restrict weights, real_t *restrict degenerate, void *scratch, int worker,
                           int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->channels, worker, workers, &begin, &end);
    for (ptrdiff_t k = begin; k < end; k += GCAM_CAM_BLOCK) {
        const ptrdiff_t n = end - k < GCAM_CAM_BLOCK ? end - k : GCAM_CAM_BLOCK;
        double sums[3][GCAM_CAM_BLOCK];
        GCAM_FN(cam_sum)(GCAM_CAM_MOMENTS, g, k, n, gradient, g->g, activation, g->a, GCAM_FN(cam_no_number), sums);
        for (ptrdiff_t c = 0; c < n; c++) {
            const double total = sums[1][c], magnitude = sums[2][c];
            const bool cancelled = g->variant == 0 && fabs(total) <= 1e-7 * magnitude && isfinite(magnitude);
            const double divisor = g->variant == 0 ? total : total + g->epsilon;
            weights[k + c] = cancelled ? 0 : (real_t)(sums[0][c] / divisor);
            degenerate[k + c] = cancelled ? 1 : 0;
        }
    }
}
