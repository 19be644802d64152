/* Kernels of cam/cam.h that sum over positions: the weights of channels. All arithmetic is in vectors of doubles.
 * Functions that take `what` are inlined with a constant, and so specialised. */

#if defined(__clang__)
#define GCAM_CAM_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GCAM_CAM_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (gcam_mask_f64){__VA_ARGS__})
#endif

/* n numbers (all lanes if n >= GCAM_LANES_F64, else zeros behind them); a stride of 0 repeats one. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_load)(const real_t *p, ptrdiff_t stride, ptrdiff_t n)
{
    if (stride == 1 && n >= GCAM_LANES_F64) {
        return V(widen)(p);
    }
    if (stride == 0) {
        return gcam_set1_f64((double)*p);
    }
    real_t numbers[GCAM_LANES_F64] = {0};
    if (n >= GCAM_LANES_F64) {
        for (int i = 0; i < GCAM_LANES_F64; i++) {
            numbers[i] = p[i * stride];
        }
    } else {
        for (ptrdiff_t i = 0; i < n; i++) {
            numbers[i] = p[i * stride];
        }
    }
    return V(widen)(numbers);
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

/* R(p) and 2 + R(p) s, or 0 and 1 where that is cancelled; and which are. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_fraction)(gcam_cam_sum what, gcam_vec_f64 p, gcam_vec_f64 s, gcam_vec_f64 *above, gcam_vec_f64 *below)
{
    *above = gcam_relu_f64(p);
    *below = 2.0 + *above * s;
    if (what == GCAM_CAM_SHARE) {
        return (gcam_vec_f64){0};
    }
    const gcam_vec_f64 one = gcam_set1_f64(1), bound = 1e-12 * (2.0 + GCAM_FN(cam_abs)(*above * s));
    const gcam_mask_f64 cancelled = (GCAM_FN(cam_abs)(*below) <= bound) & (bound < (double)INFINITY);
    const gcam_vec_f64 dropped = GCAM_FN(cam_keep)(cancelled, one);
    *above = GCAM_FN(cam_keep)(~cancelled, *above);
    *below = (gcam_vec_f64)((gcam_mask_f64)GCAM_FN(cam_keep)(~cancelled, *below) | (gcam_mask_f64)dropped);
    return dropped;
}

GCAM_INLINE bool
GCAM_FN(cam_in_pairs)(gcam_cam_sum what)
{
    return sizeof(real_t) == sizeof(float) && (what == GCAM_CAM_CANCELLED || what == GCAM_CAM_SHARE);
}

/* The terms of two positions as one: a division is most of the work. The products of doubles made of floats do not
 * overflow. */
GCAM_INLINE void
GCAM_FN(cam_pair_terms)(gcam_cam_sum what, gcam_vec_f64 p, gcam_vec_f64 q, gcam_vec_f64 s, gcam_vec_f64 terms[3])
{
    gcam_vec_f64 p_above, p_below, q_above, q_below;
    terms[1] = GCAM_FN(cam_fraction)(what, p, s, &p_above, &p_below);
    terms[1] += GCAM_FN(cam_fraction)(what, q, s, &q_above, &q_below);
    terms[0] = (p_above * q_below + q_above * p_below) / (p_below * q_below);
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
    } else if (what == GCAM_CAM_CANCELLED || what == GCAM_CAM_SHARE) {
        gcam_vec_f64 above, below;
        terms[1] = GCAM_FN(cam_fraction)(what, p, s, &above, &below);
        terms[0] = above / below;
    } else if (what == GCAM_CAM_DAMPED) {
        const gcam_vec_f64 square = p * p, share = square / (2.0 * square + s * (square * p) + epsilon);
        terms[0] = r * GCAM_FN(cam_keep)(p != (gcam_vec_f64){0}, share);
    } else {
        terms[0] = p * q;
        terms[1] = q;
        terms[2] = GCAM_FN(cam_abs)(q);
    }
}

/* Lane j of row i becomes lane i of row j: blocks of 1 x 1, 2 x 2, ... numbers change places. */
GCAM_INLINE void
GCAM_FN(cam_transpose)(gcam_vec_f64 rows[GCAM_LANES_F64])
{
#define GCAM_CAM_SWAP(distance, LOW, HIGH)                                                                             \
    for (int i = 0; i < GCAM_LANES_F64; i++) {                                                                         \
        if ((i & (distance)) == 0) {                                                                                   \
            const gcam_vec_f64 low = rows[i], high = rows[i + (distance)];                                             \
            rows[i] = GCAM_CAM_SHUFFLE(low, high, LOW);                                                                \
            rows[i + (distance)] = GCAM_CAM_SHUFFLE(low, high, HIGH);                                                  \
        }                                                                                                              \
    }
#define GCAM_CAM_LIST(...) __VA_ARGS__
#if GCAM_LANES_F64 == 2
    GCAM_CAM_SWAP(1, GCAM_CAM_LIST(0, 2), GCAM_CAM_LIST(1, 3))
#elif GCAM_LANES_F64 == 4
    GCAM_CAM_SWAP(1, GCAM_CAM_LIST(0, 4, 2, 6), GCAM_CAM_LIST(1, 5, 3, 7))
    GCAM_CAM_SWAP(2, GCAM_CAM_LIST(0, 1, 4, 5), GCAM_CAM_LIST(2, 3, 6, 7))
#elif GCAM_LANES_F64 == 8
    GCAM_CAM_SWAP(1, GCAM_CAM_LIST(0, 8, 2, 10, 4, 12, 6, 14), GCAM_CAM_LIST(1, 9, 3, 11, 5, 13, 7, 15))
    GCAM_CAM_SWAP(2, GCAM_CAM_LIST(0, 1, 8, 9, 4, 5, 12, 13), GCAM_CAM_LIST(2, 3, 10, 11, 6, 7, 14, 15))
    GCAM_CAM_SWAP(4, GCAM_CAM_LIST(0, 1, 2, 3, 8, 9, 10, 11), GCAM_CAM_LIST(4, 5, 6, 7, 12, 13, 14, 15))
#endif
#undef GCAM_CAM_LIST
#undef GCAM_CAM_SWAP
}

/* Channels whose sums are taken side by side, so that no addition waits for the one before. */
enum { GCAM_FN(cam_chains) = GCAM_LANES_F64 > 2 ? GCAM_LANES_F64 / 2 : 1 };

/* Partial sums of the channels first, first + 1, ...: sums[m][j W + first + r] has those of the lanes j W, j W + 1, ...
 * Positions that do not fill the lanes are left out. Channels from n on are channel n - 1 once more. */
GCAM_INLINE void
GCAM_FN(cam_sum_strip)(gcam_cam_sum what, double epsilon, ptrdiff_t first, ptrdiff_t n, const gcam_turns *turns,
                       const real_t *p, gcam_cam_strides ps, const real_t *q, gcam_cam_strides qs, const double *s,
                       gcam_vec_f64 sums[3][GCAM_CAM_LANES])
{
    enum { W = GCAM_LANES_F64, VECTORS = GCAM_CAM_LANES / W, CHAINS = GCAM_FN(cam_chains) };
    enum { STEP = CHAINS * GCAM_CAM_LANES * sizeof(real_t) };
    const int count = GCAM_FN(cam_sums)(what);
    gcam_vec_f64 partial[3][CHAINS][VECTORS], terms[3], number[CHAINS];
    const real_t *p_rows[CHAINS], *q_rows[CHAINS];
    for (ptrdiff_t r = 0, channel = first < n ? first : n - 1; r < CHAINS; r++) {
        p_rows[r] = r == 0 ? p + channel * ps.c : p_rows[r - 1] + (first + r < n ? ps.c : 0);
        q_rows[r] = r == 0 ? q + channel * qs.c : q_rows[r - 1] + (first + r < n ? qs.c : 0);
        number[r] = gcam_set1_f64(s[first + r]);
        for (int m = 0; m < count; m++) {
            for (int j = 0; j < VECTORS; j++) {
                partial[m][r][j] = (gcam_vec_f64){0};
            }
        }
    }
    for (ptrdiff_t x = 0; x + GCAM_CAM_LANES <= turns->positions;) {
        gcam_fetch fetch = gcam_turn_fetch(turns, p_rows[0], ps.c, ps.x, x);
        const ptrdiff_t end = x + turns->chunk < turns->positions ? x + turns->chunk : turns->positions;
        for (; GCAM_FN(cam_in_pairs)(what) && x + 2 * GCAM_CAM_LANES <= end; x += 2 * GCAM_CAM_LANES) {
            gcam_fetch_next(&fetch, 2 * STEP);
            for (int r = 0; r < CHAINS; r++) {
                for (int j = 0; j < VECTORS; j++) {
                    const real_t *row = p_rows[r] + (x + j * W) * ps.x;
                    GCAM_FN(cam_pair_terms)(what, GCAM_FN(cam_load)(row, ps.x, W),
                                            GCAM_FN(cam_load)(row + GCAM_CAM_LANES * ps.x, ps.x, W), number[r], terms);
                    for (int m = 0; m < count; m++) {
                        partial[m][r][j] += terms[m];
                    }
                }
            }
        }
        for (; x + GCAM_CAM_LANES <= end; x += GCAM_CAM_LANES) {
            if (what != GCAM_CAM_MOMENTS) { /* of two arrays the processor has enough in flight */
                gcam_fetch_next(&fetch, STEP);
            }
            for (int r = 0; r < CHAINS; r++) {
                for (int j = 0; j < VECTORS; j++) {
                    const ptrdiff_t y = x + j * W;
                    GCAM_FN(cam_sum_terms)(what, epsilon, GCAM_FN(cam_load)(p_rows[r] + y * ps.x, ps.x, W),
                                           GCAM_FN(cam_load)(q_rows[r] + y * qs.x, qs.x, W), number[r], terms);
                    for (int m = 0; m < count; m++) {
                        partial[m][r][j] += terms[m];
                    }
                }
            }
        }
    }
    for (int r = 0; r < CHAINS; r++) {
        for (int m = 0; m < count; m++) {
            for (int j = 0; j < VECTORS; j++) {
                sums[m][j * W + first + r] = partial[m][r][j];
            }
        }
    }
}

/* The sums of the first n channels, no more than GCAM_LANES_F64: out[c], out[GCAM_CAM_BLOCK + c], ... for that many c.
 * The partial sums are transposed, so that a vector holds one of all channels, as it does for the positions left. */
GCAM_INLINE void
GCAM_FN(cam_sum_rows)(gcam_cam_sum what, double epsilon, ptrdiff_t n, const gcam_turns *turns, const real_t *p,
                      gcam_cam_strides ps, const real_t *q, gcam_cam_strides qs, const double *s, double *out)
{
    enum { W = GCAM_LANES_F64 };
    const int count = GCAM_FN(cam_sums)(what);
    const ptrdiff_t rest = turns->positions % GCAM_CAM_LANES;
    gcam_vec_f64 sums[3][GCAM_CAM_LANES], terms[3];
    for (ptrdiff_t r = 0; r < W; r += GCAM_FN(cam_chains)) {
        GCAM_FN(cam_sum_strip)(what, epsilon, r, n, turns, p, ps, q, qs, s, sums);
    }
    for (int m = 0; m < count; m++) {
        for (int j = 0; j < GCAM_CAM_LANES; j += W) {
            GCAM_FN(cam_transpose)(&sums[m][j]);
        }
    }
    for (ptrdiff_t j = 0; j < rest; j++) {
        const ptrdiff_t x = turns->positions - rest + j;
        GCAM_FN(cam_sum_terms)(what, epsilon, GCAM_FN(cam_load)(p + x * ps.x, ps.c, n),
                               GCAM_FN(cam_load)(q + x * qs.x, qs.c, n), gcam_load_f64(s), terms);
        for (int m = 0; m < count; m++) {
            sums[m][j] += terms[m];
        }
    }
    for (int m = 0; m < count; m++) {
        for (int half = GCAM_CAM_LANES / 2; half > 0; half /= 2) {
            for (int j = 0; j < half; j++) {
                sums[m][j] += sums[m][j + half];
            }
        }
        gcam_store_f64(out + m * GCAM_CAM_BLOCK, sums[m][0]);
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
    const ptrdiff_t paired = GCAM_FN(cam_in_pairs)(what) ? positions / (2 * GCAM_CAM_LANES) * (2 * GCAM_CAM_LANES) : 0;
    for (ptrdiff_t x = 0; x < positions; x++) {
        const ptrdiff_t j = x % GCAM_CAM_LANES;
        if (x < paired && x / GCAM_CAM_LANES % 2 == 1) {
            continue; /* done with the other of the pair */
        }
        for (ptrdiff_t c = 0; c < n; c += GCAM_LANES_F64) {
            const real_t *p_here = p + x * px + c, *q_here = q + x * qx + c;
            if (x < paired) {
                GCAM_FN(cam_pair_terms)(what, GCAM_FN(cam_load)(p_here, 1, n - c),
                                        GCAM_FN(cam_load)(p_here + GCAM_CAM_LANES * px, 1, n - c), gcam_load_f64(s + c),
                                        terms);
            } else {
                GCAM_FN(cam_sum_terms)(what, epsilon, GCAM_FN(cam_load)(p_here, 1, n - c),
                                       GCAM_FN(cam_load)(q_here, 1, n - c), gcam_load_f64(s + c), terms);
            }
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
    const gcam_turns turns = gcam_turns_of(g->positions, GCAM_FN(cam_chains), sizeof(real_t));
    if (ps.x == 1 && qs.x == 1 && g->positions > 1) {
        for (ptrdiff_t c = 0; c < n; c += GCAM_LANES_F64) {
            const gcam_cam_strides p_rows = {ps.c, 1}, q_rows = {qs.c, 1};
            GCAM_FN(cam_sum_rows)(what, g->epsilon, n - c, &turns, p + c * ps.c, p_rows, q + c * qs.c, q_rows, s + c,
                                  &sums[0][c]);
        }
    } else if (ps.c == 1 && qs.c == 1) {
        GCAM_FN(cam_sum_columns)(what, g->epsilon, n, g->positions, p, ps.x, q, qs.x, s, sums[0]);
    } else {
        for (ptrdiff_t c = 0; c < n; c += GCAM_LANES_F64) {
            GCAM_FN(cam_sum_rows)(what, g->epsilon, n - c, &turns, p + c * ps.c, ps, q + c * qs.c, qs, s + c,
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

/* Whether all numbers are at least 0. */
GCAM_INLINE bool
GCAM_FN(cam_all_positive)(ptrdiff_t n, const double *numbers)
{
    int64_t all = 1; /* as wide as the numbers: in vectors */
    for (ptrdiff_t i = 0; i < n; i++) {
        all &= numbers[i] >= 0;
    }
    return all != 0;
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
        double total[3][GCAM_CAM_BLOCK], sums[3][GCAM_CAM_BLOCK];
        memset(total[0], 0, sizeof total[0]);
        memset(sums[1], 0, sizeof sums[1]);
        const double *none = GCAM_FN(cam_no_number);
        if (g->variant == 2) {
            GCAM_FN(cam_sum)(GCAM_CAM_CUBE, g, k, n, gradient, g->g, gradient, g->g, none, sums);
        } else {
            GCAM_FN(cam_sum)(GCAM_CAM_VALUE, g, k, n, activation, g->a, activation, g->a, none, total);
            if (g->variant == 1) {
                GCAM_FN(cam_sum)(GCAM_CAM_DAMPED, g, k, n, gradient, g->g, gradient, g->g, total[0], sums);
            } else if (GCAM_FN(cam_all_positive)(n, total[0])) {
                GCAM_FN(cam_sum)(GCAM_CAM_SHARE, g, k, n, gradient, g->g, gradient, g->g, total[0], sums);
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
