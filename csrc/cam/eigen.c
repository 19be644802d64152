#include "cam/eigen.h"

#include <float.h>
#include <math.h>

/* Elements that hold rows * columns doubles. */
static gcam_status
doubles(gcam_dtype dtype, ptrdiff_t rows, ptrdiff_t columns, size_t *elements)
{
    const size_t each = dtype == GCAM_F32 ? 2 : 1;
    if (!gcam_size_mul((size_t)rows, (size_t)columns, elements) || !gcam_size_mul(*elements, each, elements)) {
        return GCAM_E_SIZE;
    }
    return GCAM_OK;
}

static gcam_status
read_attributes(gcam_eigen_geom *g, const gcam_attributes *attributes)
{
    gcam_reader reader = gcam_reader_start(attributes);
    gcam_cam_geom *cam = &g->cam;
    cam->channels = gcam_read_int(&reader);
    cam->positions = gcam_read_int(&reader);
    cam->a.c = gcam_read_int(&reader);
    cam->a.x = gcam_read_int(&reader);
    cam->g.c = gcam_read_int(&reader);
    cam->g.x = gcam_read_int(&reader);
    const ptrdiff_t term = gcam_read_int(&reader);
    ptrdiff_t flags[3];
    gcam_read_ints(&reader, flags, 3);
    const ptrdiff_t rule = gcam_read_int(&reader);
    const ptrdiff_t factor = gcam_read_int(&reader);
    const ptrdiff_t reference = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (cam->channels < 1 || cam->positions < 1) {
        return GCAM_E_DIMENSION;
    }
    for (int i = 0; i < 3; i++) {
        if (flags[i] < 0 || flags[i] > 1) {
            return GCAM_E_CODE;
        }
    }
    if (term < 0 || term >= GCAM_EIGEN_TERMS || rule < GCAM_EIGEN_ENERGY || rule > GCAM_EIGEN_EXTREME
        || (factor != 1 && factor != -1) || reference < 0 || reference > 1) {
        return GCAM_E_CODE;
    }
    g->term = (gcam_eigen_term)term;
    g->centred = flags[0] == 1;
    g->replace_nan = flags[1] == 1;
    g->kernel_pca = flags[2] == 1;
    g->rule = (int)rule;
    g->factor = (double)factor;
    g->reference = reference == 1;
    GCAM_TRY(gcam_cam_elements(cam->channels, cam->positions, cam->a, &g->a_count));
    return gcam_cam_elements(cam->channels, cam->positions, cam->g, &g->g_count);
}

static gcam_status
geom_init(gcam_eigen_geom *g, const gcam_attributes *attributes)
{
    GCAM_TRY(read_attributes(g, attributes));
    const ptrdiff_t channels = g->cam.channels, positions = g->cam.positions;
    const gcam_dtype dtype = attributes->dtype;
    g->by_channel = channels <= positions && !g->kernel_pca;
    g->side = g->by_channel ? channels : positions;
    g->depth = g->by_channel ? positions : channels;
    size_t padded, rows;
    if (!gcam_size_mul((size_t)channels, (size_t)positions, &g->matrix)
        || !gcam_size_add((size_t)g->side, GCAM_EIGEN_PANEL - 1, &padded)
        || !gcam_size_add((size_t)g->side, GCAM_EIGEN_VECTORS, &rows)
        || !gcam_size_add((size_t)g->side, 2, &g->vector)) {
        return GCAM_E_SIZE;
    }
    padded -= padded % GCAM_EIGEN_PANEL;
    GCAM_TRY(doubles(dtype, 2, channels, &g->stats));
    GCAM_TRY(doubles(dtype, (ptrdiff_t)padded, g->depth, &g->panels));
    GCAM_TRY(doubles(dtype, g->side, g->side, &g->gram));
    GCAM_TRY(doubles(dtype, 1, (ptrdiff_t)g->vector, &g->vector));
    GCAM_TRY(doubles(dtype, (ptrdiff_t)rows, g->side, &g->space));
    return doubles(dtype, 1, positions, &g->map);
}

gcam_status
gcam_eigen_matrix_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_eigen_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    const bool weighted = g->term == GCAM_EIGEN_WEIGHTED;
    operands->in[0] = g->a_count;
    operands->in[1] = weighted || g->term == GCAM_EIGEN_ACTIVATION ? 0 : g->g_count;
    operands->in[2] = weighted ? (size_t)g->cam.channels : 0;
    operands->out[0] = g->matrix;
    operands->out[1] = g->stats;
    return GCAM_OK;
}

gcam_status
gcam_eigen_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_eigen_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    operands->in[0] = g->matrix;
    operands->in[1] = g->stats;
    operands->out[0] = g->panels;
    return GCAM_OK;
}

gcam_status
gcam_eigen_gram_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_eigen_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    operands->in[0] = g->panels;
    operands->out[0] = g->gram;
    return GCAM_OK;
}

gcam_status
gcam_eigen_vector_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_eigen_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    operands->in[0] = g->gram;
    operands->in[1] = g->stats;
    operands->out[0] = g->vector;
    operands->out[1] = g->space;
    return GCAM_OK;
}

gcam_status
gcam_eigen_project_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_eigen_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    operands->in[0] = g->matrix;
    operands->in[1] = g->stats;
    operands->in[2] = g->vector;
    operands->out[0] = operands->out[1] = g->map;
    return GCAM_OK;
}

gcam_status
gcam_eigen_sign_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_eigen_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    operands->in[0] = g->matrix;
    operands->in[1] = g->stats;
    operands->in[2] = g->vector;
    operands->in[3] = operands->in[4] = g->map;
    operands->in[5] = g->reference ? (size_t)g->cam.positions : 0;
    operands->out[0] = (size_t)g->cam.positions;
    operands->out[1] = 2;
    return GCAM_OK;
}

double
gcam_eigen_scale(const gcam_eigen_geom *g, const double *stats)
{
    double largest = 0;
    for (ptrdiff_t k = 0; k < g->cam.channels; k++) {
        const double peak = stats[2 * k + 1];
        if (!isfinite(peak)) {
            return (double)NAN;
        }
        largest = peak > largest ? peak : largest;
    }
    if (largest == 0) {
        return 0;
    }
    if (g->kernel_pca) {
        return 1;
    }
    int exponent;
    (void)frexp(largest, &exponent);
    return ldexp(1, exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent);
}

void
gcam_eigen_start(double *vector, ptrdiff_t n, uint64_t seed)
{
    for (ptrdiff_t i = 0; i < n; i++) { /* splitmix64 */
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        vector[i] = ldexp((double)(int64_t)(z >> 11), -52) - 1;
    }
}

/* The pivots x - a[i] - b^2 / pivot of x I - T; false as soon as one is not positive: an eigenvalue is at or above x.
 */
static bool
is_above(ptrdiff_t n, const double *a, const double *b, double x, double *pivots)
{
    double pivot = 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        pivot = x - a[i] - (i > 0 ? b[i - 1] * b[i - 1] / pivot : 0);
        if (!(pivot > 0)) {
            return false;
        }
        pivots[i] = pivot;
    }
    return true;
}

double
gcam_eigen_tridiagonal(ptrdiff_t n, const double *a, const double *b, double least, double *s, double *work)
{
    double low = least, high = a[0], size = 0;
    for (ptrdiff_t i = 0; i < n; i++) { /* Gershgorin; and no diagonal element lies above the largest eigenvalue */
        const double radius = (i > 0 ? fabs(b[i - 1]) : 0) + (i + 1 < n ? fabs(b[i]) : 0);
        low = a[i] > low ? a[i] : low;
        high = a[i] + radius > high ? a[i] + radius : high;
        size = fabs(a[i]) + radius > size ? fabs(a[i]) + radius : size;
    }
    /* Bisection: `high` stays above all eigenvalues. The first bounds step over rounding errors of `least` and `high`.
     */
    double step = 1e-14 * size;
    low -= step;
    while (!is_above(n, a, b, high, work) && step < size) {
        high += step + DBL_MIN;
        step *= 8;
    }
    for (int i = 0; i < 200; i++) {
        const double middle = low + 0.5 * (high - low);
        if (!(middle > low && middle < high) || high - low <= DBL_EPSILON * size) {
            break;
        }
        if (is_above(n, a, b, middle, work)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        s[i] = 1;
    }
    if (!is_above(n, a, b, high, work)) { /* T = 0, or not finite */
        return high;
    }
    for (int round = 0; round < 3; round++) { /* inverse iteration with x I - T = L D L' */
        for (ptrdiff_t i = 1; i < n; i++) {
            s[i] += b[i - 1] / work[i - 1] * s[i - 1];
        }
        double largest = 0;
        for (ptrdiff_t i = n - 1; i >= 0; i--) {
            s[i] = (s[i] + (i + 1 < n ? b[i] * s[i + 1] : 0)) / work[i];
            largest = fabs(s[i]) > largest ? fabs(s[i]) : largest;
        }
        double square = 0;
        for (ptrdiff_t i = 0; i < n; i++) {
            s[i] /= largest;
            square += s[i] * s[i];
        }
        for (ptrdiff_t i = 0; i < n; i++) {
            s[i] /= sqrt(square);
        }
    }
    return high;
}
