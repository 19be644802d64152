/* Kernels of cam/eigen.h that read and write arrays of the kernel's type: the matrix, the projection, the sign. Uses
 * cam/cam.tmpl.h. */

GCAM_INLINE const double *
GCAM_FN(eigen_in)(const real_t *operand)
{
    return (const double *)(const void *)operand;
}

GCAM_INLINE double *
GCAM_FN(eigen_out)(real_t *operand)
{
    return (double *)(void *)operand;
}

/* --- eigen_matrix */

GCAM_INLINE real_t
GCAM_FN(eigen_term)(gcam_eigen_term term, real_t u, real_t a)
{
    switch (term) {
    case GCAM_EIGEN_ACTIVATION:
        return a;
    case GCAM_EIGEN_ABS_PRODUCT:
        return (u < 0 ? -u : u) * a;
    case GCAM_EIGEN_RELU_PRODUCT:
        return u * a < 0 ? 0 : u * a;
    case GCAM_EIGEN_RELU_GRADIENT:
        return (u < 0 ? 0 : u) * a;
    case GCAM_EIGEN_PRODUCT:
    case GCAM_EIGEN_WEIGHTED:
    case GCAM_EIGEN_TERMS:
    default:
        return u * a;
    }
}

/* n channels from k on, all positions. Where channels are adjacent, a square at a time is turned. */
GCAM_INLINE void
GCAM_FN(eigen_fill)(gcam_eigen_term term, const gcam_eigen_geom *g, ptrdiff_t k, ptrdiff_t n, const real_t *restrict a,
                    const real_t *restrict u, gcam_cam_strides us, real_t *restrict matrix)
{
    const gcam_cam_strides as = g->cam.a;
    const ptrdiff_t positions = g->cam.positions;
    a += k * as.c;
    u += k * us.c;
    matrix += k * positions;
    if (as.x == 1) {
        for (ptrdiff_t c = 0; c < n; c++) {
            for (ptrdiff_t x = 0; x < positions; x++) {
                matrix[c * positions + x] = GCAM_FN(eigen_term)(term, u[c * us.c + x * us.x], a[c * as.c + x]);
            }
        }
        return;
    }
    real_t square[GCAM_EIGEN_ACROSS][GCAM_EIGEN_ALONG];
    for (ptrdiff_t x = 0; x < positions; x += GCAM_EIGEN_ALONG) {
        const ptrdiff_t length = positions - x < GCAM_EIGEN_ALONG ? positions - x : GCAM_EIGEN_ALONG;
        for (ptrdiff_t i = 0; i < length; i++) {
            for (ptrdiff_t c = 0; c < n; c++) {
                square[c][i] = GCAM_FN(eigen_term)(term, u[c * us.c + (x + i) * us.x], a[c * as.c + (x + i) * as.x]);
            }
        }
        for (ptrdiff_t c = 0; c < n; c++) {
            memcpy(matrix + c * positions + x, square[c], (size_t)length * sizeof(real_t));
        }
    }
}

GCAM_INLINE void
GCAM_FN(eigen_fill_any)(const gcam_eigen_geom *g, ptrdiff_t k, ptrdiff_t n, const real_t *a, const real_t *gradient,
                        const real_t *weights, real_t *matrix)
{
    const gcam_cam_strides constant = {1, 0};
    switch (g->term) {
    case GCAM_EIGEN_ACTIVATION:
        GCAM_FN(eigen_fill)(GCAM_EIGEN_ACTIVATION, g, k, n, a, a, g->cam.a, matrix);
        break;
    case GCAM_EIGEN_ABS_PRODUCT:
        GCAM_FN(eigen_fill)(GCAM_EIGEN_ABS_PRODUCT, g, k, n, a, gradient, g->cam.g, matrix);
        break;
    case GCAM_EIGEN_RELU_PRODUCT:
        GCAM_FN(eigen_fill)(GCAM_EIGEN_RELU_PRODUCT, g, k, n, a, gradient, g->cam.g, matrix);
        break;
    case GCAM_EIGEN_RELU_GRADIENT:
        GCAM_FN(eigen_fill)(GCAM_EIGEN_RELU_GRADIENT, g, k, n, a, gradient, g->cam.g, matrix);
        break;
    case GCAM_EIGEN_WEIGHTED:
        GCAM_FN(eigen_fill)(GCAM_EIGEN_WEIGHTED, g, k, n, a, weights, constant, matrix);
        break;
    case GCAM_EIGEN_PRODUCT:
    case GCAM_EIGEN_TERMS:
    default:
        GCAM_FN(eigen_fill)(GCAM_EIGEN_PRODUCT, g, k, n, a, gradient, g->cam.g, matrix);
        break;
    }
}

/* The smallest and the largest of n numbers; NaN is passed over. */
GCAM_INLINE void
GCAM_FN(eigen_range)(const real_t *row, ptrdiff_t n, double *least, double *most)
{
    gcam_vec_f64 low = gcam_set1_f64((double)row[0]), high = low;
    ptrdiff_t x = 0;
    for (; x + GCAM_LANES_F64 <= n; x += GCAM_LANES_F64) {
        const gcam_vec_f64 v = GCAM_FN(cam_load)(row + x, 1, GCAM_LANES_F64);
        const gcam_mask_f64 below = v<low, above = v> high;
        low = (gcam_vec_f64)((below & (gcam_mask_f64)v) | (~below & (gcam_mask_f64)low));
        high = (gcam_vec_f64)((above & (gcam_mask_f64)v) | (~above & (gcam_mask_f64)high));
    }
    *least = low[0];
    *most = high[0];
    for (int i = 1; i < GCAM_LANES_F64; i++) {
        *least = low[i] < *least ? low[i] : *least;
        *most = high[i] > *most ? high[i] : *most;
    }
    for (; x < n; x++) {
        const double v = (double)row[x];
        *least = v < *least ? v : *least;
        *most = v > *most ? v : *most;
    }
}

static void
GCAM_FN(eigen_matrix)(const gcam_eigen_geom *g, const real_t *restrict activation, const real_t *restrict gradient,
                      const real_t *restrict weights, real_t *restrict matrix, real_t *restrict stats, void *scratch,
                      int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t positions = g->cam.positions;
    double *pairs = GCAM_FN(eigen_out)(stats);
    ptrdiff_t begin, end;
    gcam_share(g->cam.channels, worker, workers, &begin, &end);
    for (ptrdiff_t first = begin; first < end; first += GCAM_EIGEN_ACROSS) {
        const ptrdiff_t n = end - first < GCAM_EIGEN_ACROSS ? end - first : GCAM_EIGEN_ACROSS;
        GCAM_FN(eigen_fill_any)(g, first, n, activation, gradient, weights, matrix);
        real_t *rows = matrix + first * positions;
        for (ptrdiff_t i = 0; g->replace_nan && i < n * positions; i++) {
            rows[i] = rows[i] != rows[i] ? 0 : rows[i];
        }
        double sums[3][GCAM_CAM_BLOCK];
        const gcam_cam_strides strides = {positions, 1};
        GCAM_FN(cam_sum)(GCAM_CAM_VALUE, &g->cam, 0, n, rows, strides, rows, strides, GCAM_FN(cam_no_number), sums);
        for (ptrdiff_t k = first; k < first + n; k++) {
            const double sum = sums[0][k - first];
            double least, most, offset = 0;
            GCAM_FN(eigen_range)(matrix + k * positions, positions, &least, &most);
            if (g->centred) {
                offset = least == most ? least : sum / (double)positions;
            }
            const double peak = most - offset > offset - least ? most - offset : offset - least;
            pairs[2 * k] = offset;
            pairs[2 * k + 1] = isnan(sum) ? sum : peak; /* the range passes NaN over */
        }
    }
}

/* --- eigen_project */

static void
GCAM_FN(eigen_project)(const gcam_eigen_geom *g, const real_t *restrict matrix, const real_t *restrict stats,
                       const real_t *restrict vector, real_t *restrict projection, real_t *restrict energy,
                       void *scratch, int worker, int workers)
{
    (void)scratch;
    const double *pairs = GCAM_FN(eigen_in)(stats), *u = GCAM_FN(eigen_in)(vector);
    double *p = GCAM_FN(eigen_out)(projection), *e = GCAM_FN(eigen_out)(energy);
    const ptrdiff_t positions = g->cam.positions;
    const double size = sqrt(u[g->side]) * gcam_eigen_scale(g, pairs); /* singular value, if u is by position */
    const ptrdiff_t tiles = (positions + GCAM_EIGEN_TILE - 1) / GCAM_EIGEN_TILE;
    ptrdiff_t begin, end;
    gcam_share(tiles, worker, workers, &begin, &end);
    for (ptrdiff_t first = begin * GCAM_EIGEN_TILE; first < positions && first < end * GCAM_EIGEN_TILE;
         first += GCAM_EIGEN_TILE) {
        const ptrdiff_t n = positions - first < GCAM_EIGEN_TILE ? positions - first : GCAM_EIGEN_TILE;
        double sums[GCAM_EIGEN_TILE] = {0}, sizes[GCAM_EIGEN_TILE] = {0};
        for (ptrdiff_t k = 0; k < g->cam.channels; k++) {
            const real_t *row = matrix + k * positions + first;
            const double offset = pairs[2 * k], weight = g->by_channel ? u[k] : 0;
            ptrdiff_t x = 0;
            for (; x + GCAM_LANES_F64 <= n; x += GCAM_LANES_F64) {
                const gcam_vec_f64 b = GCAM_FN(cam_load)(row + x, 1, GCAM_LANES_F64);
                gcam_store_f64(sums + x, gcam_load_f64(sums + x) + weight * (b - offset));
                gcam_store_f64(sizes + x, gcam_load_f64(sizes + x) + GCAM_FN(cam_abs)(b));
            }
            for (; x < n; x++) {
                sums[x] += weight * ((double)row[x] - offset);
                sizes[x] += fabs((double)row[x]);
            }
        }
        for (ptrdiff_t x = 0; x < n; x++) {
            p[first + x] = g->by_channel ? sums[x] : size * u[first + x];
            e[first + x] = sizes[x];
        }
    }
}

/* --- eigen_sign */

/* Sign for which sum_x p q >= 0; 0 if the sum cancels. q is an array of doubles, or else of real numbers. */
GCAM_INLINE int
GCAM_FN(eigen_sign_of_product)(ptrdiff_t n, const double *p, const double *doubles, const real_t *reals)
{
    double sum = 0, pp = 0, qq = 0;
    for (ptrdiff_t x = 0; x < n; x++) {
        const double q = doubles != NULL ? doubles[x] : (double)reals[x];
        sum += p[x] * q;
        pp += p[x] * p[x];
        qq += q * q;
    }
    return fabs(sum) <= 1e-9 * sqrt(pp) * sqrt(qq) ? 0 : sum < 0 ? -1 : 1;
}

GCAM_INLINE int
GCAM_FN(eigen_sign_of_extremes)(ptrdiff_t n, const double *p)
{
    double least = p[0], most = p[0];
    for (ptrdiff_t x = 1; x < n; x++) {
        least = p[x] < least ? p[x] : least;
        most = p[x] > most ? p[x] : most;
    }
    const double up = fabs(most), down = fabs(least);
    return fabs(up - down) <= 1e-9 * (up > down ? up : down) ? 0 : up < down ? -1 : 1;
}

/* Sign of the first entry of v whose magnitude is the largest. By position, v[k] = sum_x u[x] (B - offset) / sigma. */
GCAM_INLINE int
GCAM_FN(eigen_sign_of_vector)(const gcam_eigen_geom *g, const real_t *matrix, const double *stats, const double *u)
{
    const bool summed = !g->by_channel && !g->kernel_pca;
    const ptrdiff_t n = summed ? g->cam.channels : g->side, positions = g->cam.positions;
    double largest = 0, found = 0;
    for (ptrdiff_t k = 0; k < n; k++) {
        double entry = summed ? 0 : u[k];
        for (ptrdiff_t x = 0; summed && x < positions; x++) {
            entry += u[x] * ((double)matrix[k * positions + x] - stats[2 * k]);
        }
        if (fabs(entry) > largest * (1 + 1e-9)) {
            largest = fabs(entry);
            found = entry;
        }
    }
    return found < 0 ? -1 : 1;
}

static void
GCAM_FN(eigen_sign)(const gcam_eigen_geom *g, const real_t *restrict matrix, const real_t *restrict stats,
                    const real_t *restrict vector, const real_t *restrict projection, const real_t *restrict energy,
                    const real_t *restrict reference, real_t *restrict map, real_t *restrict info, void *scratch,
                    int worker, int workers)
{
    (void)scratch;
    (void)workers;
    if (worker != 0) {
        return;
    }
    const ptrdiff_t positions = g->cam.positions;
    const double *p = GCAM_FN(eigen_in)(projection), *u = GCAM_FN(eigen_in)(vector);
    int sign = 0, rule = GCAM_EIGEN_MATCH;
    if (g->reference) {
        sign = GCAM_FN(eigen_sign_of_product)(positions, p, NULL, reference);
    }
    if (sign == 0 && g->rule == GCAM_EIGEN_ENERGY) {
        rule = GCAM_EIGEN_ENERGY;
        sign = GCAM_FN(eigen_sign_of_product)(positions, p, GCAM_FN(eigen_in)(energy), NULL);
    }
    if (sign == 0) {
        rule = GCAM_EIGEN_EXTREME;
        sign = GCAM_FN(eigen_sign_of_extremes)(positions, p);
    }
    if (sign == 0) {
        rule = GCAM_EIGEN_TIE;
        sign = GCAM_FN(eigen_sign_of_vector)(g, matrix, GCAM_FN(eigen_in)(stats), u);
    }
    for (ptrdiff_t x = 0; x < positions; x++) {
        map[x] = (real_t)(g->factor * sign * p[x]);
    }
    info[0] = (real_t)rule;
    info[1] = (real_t)u[g->side + 1];
}
