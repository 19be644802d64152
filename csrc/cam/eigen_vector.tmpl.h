/* The largest eigenvalue of a symmetric matrix: Lanczos iteration that keeps its basis orthogonal. After as many steps
 * as the matrix has rows the basis is complete, and the iteration has become a dense solver: it needs no other to fall
 * back on. A second search, orthogonal to the first result, sees whether the eigenvalue is multiple and whether a
 * larger one was missed. Uses cam/eigen.tmpl.h. */

/* out[i] = sum_j matrix[i, j] v[j] */
static void
GCAM_FN(eigen_multiply)(ptrdiff_t rows, ptrdiff_t n, const double *restrict matrix, const double *restrict v,
                        double *restrict out)
{
    enum { TOGETHER = 4, W = GCAM_LANES_F64 };
    const ptrdiff_t whole = n - n % W, pairs = n - n % (2 * W);
    for (ptrdiff_t i = 0; i < rows; i += TOGETHER) {
        const double *line[TOGETHER];
        gcam_vec_f64 even[TOGETHER] = {{0}}, odd[TOGETHER] = {{0}};
        for (ptrdiff_t r = 0; r < TOGETHER; r++) {
            line[r] = matrix + (i + r < rows ? i + r : i) * n;
        }
        for (ptrdiff_t j = 0; j < pairs; j += 2 * W) {
            const gcam_vec_f64 first = gcam_load_f64(v + j), second = gcam_load_f64(v + j + W);
#pragma GCC unroll 4
            for (int r = 0; r < TOGETHER; r++) {
                even[r] = gcam_fma_f64(gcam_load_f64(line[r] + j), first, even[r]);
                odd[r] = gcam_fma_f64(gcam_load_f64(line[r] + j + W), second, odd[r]);
            }
        }
        for (ptrdiff_t j = pairs; j < whole; j += W) {
            for (int r = 0; r < TOGETHER; r++) {
                even[r] = gcam_fma_f64(gcam_load_f64(line[r] + j), gcam_load_f64(v + j), even[r]);
            }
        }
        for (ptrdiff_t r = 0; r < TOGETHER && i + r < rows; r++) {
            double sum = gcam_sum_f64(even[r] + odd[r]);
            for (ptrdiff_t j = whole; j < n; j++) {
                sum += line[r][j] * v[j];
            }
            out[i + r] = sum;
        }
    }
}

/* v -= sum_i factors[i] matrix[i] */
static void
GCAM_FN(eigen_subtract)(ptrdiff_t rows, ptrdiff_t n, const double *restrict matrix, const double *restrict factors,
                        double *restrict v)
{
    enum { TOGETHER = 4, W = GCAM_LANES_F64 };
    ptrdiff_t i = 0;
    for (; i + TOGETHER <= rows; i += TOGETHER) {
        const double *line = matrix + i * n;
        ptrdiff_t j = 0;
        for (; j + W <= n; j += W) {
            gcam_vec_f64 sum = gcam_load_f64(v + j);
#pragma GCC unroll 4
            for (int r = 0; r < TOGETHER; r++) {
                sum = gcam_fma_f64(gcam_set1_f64(-factors[i + r]), gcam_load_f64(line + r * n + j), sum);
            }
            gcam_store_f64(v + j, sum);
        }
        for (; j < n; j++) {
            for (int r = 0; r < TOGETHER; r++) {
                v[j] -= factors[i + r] * line[r * n + j];
            }
        }
    }
    for (; i < rows; i++) {
        for (ptrdiff_t j = 0; j < n; j++) {
            v[j] -= factors[i] * matrix[i * n + j];
        }
    }
}

/* out = G v, from the upper triangle of G: half of what there is to read. */
static void
GCAM_FN(eigen_apply)(ptrdiff_t m, const double *restrict gram, const double *restrict v, double *restrict out)
{
    enum { TOGETHER = 4, W = GCAM_LANES_F64 };
    memset(out, 0, (size_t)m * sizeof *out);
    for (ptrdiff_t i = 0; i < m; i += TOGETHER) {
        const ptrdiff_t rows = m - i < TOGETHER ? m - i : TOGETHER;
        const double *line = gram + i * m;
        gcam_vec_f64 sums[TOGETHER] = {{0}};
        ptrdiff_t j = i + rows;
        for (; rows == TOGETHER && j + W <= m; j += W) {
            const gcam_vec_f64 across = gcam_load_f64(v + j);
            gcam_vec_f64 down = gcam_load_f64(out + j);
#pragma GCC unroll 4
            for (int r = 0; r < TOGETHER; r++) {
                const gcam_vec_f64 numbers = gcam_load_f64(line + r * m + j);
                sums[r] = gcam_fma_f64(numbers, across, sums[r]);
                down = gcam_fma_f64(numbers, gcam_set1_f64(v[i + r]), down);
            }
            gcam_store_f64(out + j, down);
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            double sum = gcam_sum_f64(sums[r]) + line[r * m + i + r] * v[i + r];
            for (ptrdiff_t c = i + r + 1; c < i + rows; c++) {
                sum += line[r * m + c] * v[c];
                out[c] += line[r * m + c] * v[i + r];
            }
            for (ptrdiff_t c = j; c < m; c++) {
                sum += line[r * m + c] * v[c];
                out[c] += line[r * m + c] * v[i + r];
            }
            out[i + r] += sum;
        }
    }
}

GCAM_INLINE double
GCAM_FN(eigen_norm)(ptrdiff_t n, const double *v)
{
    double square;
    GCAM_FN(eigen_multiply)(1, n, v, v, &square);
    return sqrt(square);
}

/* Memory of a search: m vectors of a basis, and single vectors. */
typedef struct {
    ptrdiff_t m;
    const double *matrix;
    double *basis, *diagonal, *off_diagonal, *factors, *next, *ritz, *pivots, *image, *candidate;
} GCAM_FN(eigen_search);

/* Takes from v its parts along `rows` vectors of the basis from `first` on; returns its part along the last of them. */
GCAM_INLINE double
GCAM_FN(eigen_reject)(const GCAM_FN(eigen_search) * s, ptrdiff_t first, ptrdiff_t rows, double *v)
{
    GCAM_FN(eigen_multiply)(rows, s->m, s->basis + first * s->m, v, s->factors);
    GCAM_FN(eigen_subtract)(rows, s->m, s->basis + first * s->m, s->factors, v);
    return rows > 0 ? s->factors[rows - 1] : 0;
}

/* Makes v orthogonal to the first `rows` vectors of the basis. *along is its part along the last of them; returns what
 * is left of its length. The large parts of a Lanczos step are those along the last two vectors: taken first, they do
 * not multiply the rounding errors of the basis. */
static double
GCAM_FN(eigen_orthogonalise)(const GCAM_FN(eigen_search) * s, ptrdiff_t rows, double *v, double *along)
{
    const ptrdiff_t last = rows < 2 ? rows : 2;
    *along = GCAM_FN(eigen_reject)(s, rows - last, last, v);
    double before = GCAM_FN(eigen_norm)(s->m, v), length = before;
    for (int pass = 0; pass < 3; pass++) {
        *along += GCAM_FN(eigen_reject)(s, 0, rows, v);
        length = GCAM_FN(eigen_norm)(s->m, v);
        if (length >= 0.5 * before) { /* else so much cancelled that the rest is not orthogonal */
            break;
        }
        before = length;
    }
    return length;
}

/* The candidate from the Ritz vector in `ritz`; returns its eigenvalue and its residual. */
static double
GCAM_FN(eigen_candidate)(const GCAM_FN(eigen_search) * s, ptrdiff_t fixed, ptrdiff_t steps, double *residual)
{
    const ptrdiff_t m = s->m;
    for (ptrdiff_t i = 0; i < steps; i++) {
        s->factors[i] = -s->ritz[i];
    }
    memset(s->candidate, 0, (size_t)m * sizeof(double));
    GCAM_FN(eigen_subtract)(steps, m, s->basis + fixed * m, s->factors, s->candidate);
    const double length = GCAM_FN(eigen_norm)(m, s->candidate);
    for (ptrdiff_t i = 0; i < m; i++) {
        s->candidate[i] /= length;
    }
    double value;
    GCAM_FN(eigen_apply)(m, s->matrix, s->candidate, s->image);
    (void)GCAM_FN(eigen_reject)(s, 0, fixed, s->image);
    GCAM_FN(eigen_multiply)(1, m, s->image, s->candidate, &value);
    GCAM_FN(eigen_subtract)(1, m, s->candidate, &value, s->image);
    *residual = GCAM_FN(eigen_norm)(m, s->image);
    return value;
}

/* Largest eigenvalue on the space orthogonal to the first `fixed` vectors of the basis; its vector is left in
 * `candidate`. The search begins at `next`. It may end early with an eigenvalue that is surely below `enough`. NaN if
 * the matrix is not finite, -INFINITY if the space is empty. */
static double
GCAM_FN(eigen_largest)(const GCAM_FN(eigen_search) * s, ptrdiff_t fixed, double enough)
{
    const ptrdiff_t m = s->m;
    double along, size = 0, value = -(double)INFINITY;
    double length = GCAM_FN(eigen_orthogonalise)(s, fixed, s->next, &along);
    if (fixed >= m || !(length > 0)) {
        return -(double)INFINITY;
    }
    for (ptrdiff_t j = 0;; j++) {
        double *vector = s->basis + (fixed + j) * m;
        for (ptrdiff_t i = 0; i < m; i++) {
            vector[i] = s->next[i] / length;
        }
        GCAM_FN(eigen_apply)(m, s->matrix, vector, s->next);
        const double image = GCAM_FN(eigen_norm)(m, s->next);
        if (!isfinite(image)) {
            return (double)NAN;
        }
        size = image > size ? image : size;
        length = GCAM_FN(eigen_orthogonalise)(s, fixed + j + 1, s->next, &s->diagonal[j]);
        s->off_diagonal[j] = length;
        const bool complete = fixed + j + 1 == m || length <= 1e-14 * size;
        if (!complete && j > 3 && (j + 1) % (j < 32 ? 4 : 8) != 0) {
            continue;
        }
        value = gcam_eigen_tridiagonal(j + 1, s->diagonal, s->off_diagonal, value, s->ritz, s->pivots);
        const double estimate = length * fabs(s->ritz[j]), precise = 1e-12 * fabs(value), floor = 1e-15 * size;
        const bool below = estimate <= 1e-4 * fabs(value) && value + estimate < enough;
        if (complete || below || estimate <= 0.5 * precise + floor) {
            double residual;
            const double found = GCAM_FN(eigen_candidate)(s, fixed, j + 1, &residual);
            if (complete || below || residual <= precise + 100 * floor) {
                return found;
            }
        }
    }
}

/* Whether no second eigenvalue can come near `value`: their squares add up to the square sum of the matrix. */
static bool
GCAM_FN(eigen_dominates)(const GCAM_FN(eigen_search) * s, double value)
{
    const ptrdiff_t m = s->m;
    double sum = 0;
    for (ptrdiff_t i = 0; i < m; i++) {
        const double *line = s->matrix + i * m + i, length = GCAM_FN(eigen_norm)(m - i, line);
        sum += 2 * length * length - line[0] * line[0];
    }
    return sum - value * value < 0.9 * value * value;
}

/* The eigenvector into u, its eigenvalue and whether it is not unique behind it. */
static void
GCAM_FN(eigen_find)(const GCAM_FN(eigen_search) * s, bool centred, double *u)
{
    const ptrdiff_t m = s->m, fixed = centred ? 1 : 0;
    for (ptrdiff_t i = 0; centred && i < m; i++) {
        s->basis[i] = 1 / sqrt((double)m); /* orthogonal to it, the matrix is as if centred */
    }
    gcam_eigen_start(s->next, m, 1);
    double first = GCAM_FN(eigen_largest)(s, fixed, -(double)INFINITY), second = -(double)INFINITY;
    memcpy(u, s->candidate, (size_t)m * sizeof *u);
    if (first > 0 && fixed + 1 < m && !GCAM_FN(eigen_dominates)(s, first)) {
        memcpy(s->basis + fixed * m, u, (size_t)m * sizeof *u);
        gcam_eigen_start(s->next, m, 2);
        second = GCAM_FN(eigen_largest)(s, fixed + 1, first * (1 - 1e-6));
        if (second > first * (1 + 1e-13)) { /* the first search began orthogonal to the answer */
            const double missed = first;
            memcpy(s->next, s->candidate, (size_t)m * sizeof *u);
            first = GCAM_FN(eigen_largest)(s, fixed, -(double)INFINITY);
            second = missed;
            memcpy(u, s->candidate, (size_t)m * sizeof *u);
        }
    }
    u[m] = first > 0 || isnan(first) ? first : 0;
    u[m + 1] = first > 0 && sqrt(first) - sqrt(second > 0 ? second : 0) <= 1e-9 * sqrt(first) ? 1 : 0;
    for (ptrdiff_t i = 0; i < m && !(first > 0); i++) {
        u[i] = u[m];
    }
}

static void
GCAM_FN(eigen_vector)(const gcam_eigen_geom *g, const real_t *restrict gram, const real_t *restrict stats,
                      real_t *restrict vector, real_t *restrict space, void *scratch, int worker, int workers)
{
    (void)scratch;
    (void)workers;
    if (worker != 0) {
        return;
    }
    const ptrdiff_t m = g->side;
    const double scale = gcam_eigen_scale(g, GCAM_FN(eigen_in)(stats));
    double *u = GCAM_FN(eigen_out)(vector), *single = GCAM_FN(eigen_out)(space) + m * m;
    if (!(scale > 0)) {
        for (ptrdiff_t i = 0; i < m + 2; i++) {
            u[i] = i == m + 1 ? 0 : scale;
        }
        return;
    }
    const GCAM_FN(eigen_search) search = {
        .m = m,
        .matrix = GCAM_FN(eigen_in)(gram),
        .basis = GCAM_FN(eigen_out)(space),
        .diagonal = single,
        .off_diagonal = single + m,
        .factors = single + 2 * m,
        .next = single + 3 * m,
        .ritz = single + 4 * m,
        .pivots = single + 5 * m,
        .image = single + 6 * m,
        .candidate = single + 7 * m,
    };
    GCAM_FN(eigen_find)(&search, g->kernel_pca, u);
}
