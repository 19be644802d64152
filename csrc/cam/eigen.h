/* The projection of one picture's activations on their first singular vector, and kernel PCA: steps that follow each
 * other. Channels k, positions x, activations A[k, x], gradients g[k, x], weights w[k]; R(v) = v < 0 ? 0 : v.
 *
 *   eigen_matrix   A, g, w -> B, stats     B[k, x] by `term`: 0 A, 1 g A, 2 |g| A, 3 R(g A), 4 R(g) A, 5 w[k] A; with
 *                                          replace_nan, NaN becomes 0. stats[k] = (offset, peak): the mean over x if
 *                                          centred, else 0; and max_x |B - offset|, not finite where B is not
 *   eigen_pack     B, stats -> panels      Y = (B - offset) / scale, in panels of GCAM_EIGEN_PANEL rows or columns
 *   eigen_gram     panels -> G (m, m)      upper triangle of Y Y' (m = channels) or Y' Y (m = positions), whichever is
 * smaller. Kernel PCA: m = positions and each element is tanh(<Y, Y> / channels + 1) - tanh(1) eigen_vector   G, stats
 * -> u, space    unit eigenvector (m numbers) of the largest eigenvalue, then that eigenvalue, then 1 if it is not
 * unique; `space` is memory for the search. Kernel PCA: of G centred in both indices. u = 0 where there is no positive
 * eigenvalue, NaN where B is not finite eigen_project  B, stats, u -> P, e     P[x] = sum_k v[k] (B - offset), v the
 * first right singular vector; kernel PCA: sqrt(eigenvalue) u. e[x] = sum_k |B| eigen_sign     B, stats, u, P, e, r L =
 * factor * sign * P, info = (rule that decided, not unique). The rules, each
 *                   -> L, info             tried where those before leave it open (1e-9):
 *                                          3 sum P r >= 0 (if r is there); 0 energy: sum P e >= 0; 1 extreme: |max P|
 * >= |min P|; 2 tie: the first entry of v of largest magnitude is positive
 *
 * A centred channel that is constant has the offset that it consists of: it becomes exactly 0. scale is a power of two
 * near the largest peak (1 for kernel PCA), so that squares neither overflow nor vanish; the eigenvalue is that of G.
 * The eigenvalue is not unique if the two largest singular values agree to 1e-9.
 *
 * B, L, info, A, g, w and r are real numbers of the kernel's type, contiguous but for A and g (strides as in
 * cam/cam.h). All else is in double whatever the type: an operand of d doubles has d elements of float64 or 2 d of
 * float32, and must be aligned for double. No operand may overlap an output.
 *
 * Attributes of every kernel: ints channels, positions, a.c, a.x, g.c, g.x, term, centred, replace_nan, kernel_pca,
 * rule (0: energy first, 1: extreme first), factor (1 or -1), reference (1: r is there). No scratch.
 *
 * Every sum is in double in a fixed order: same bits for any layout and any number of workers. eigen_vector and
 * eigen_sign run on worker 0 alone. */
#ifndef GCAM_CAM_EIGEN_H
#define GCAM_CAM_EIGEN_H

#include "cam/cam.h"

enum {
    GCAM_EIGEN_PANEL = 24,  /* rows of a panel: a multiple of every register tile */
    GCAM_EIGEN_DEPTH = 256, /* depth of a block: a panel of it stays in the second-level cache */
    GCAM_EIGEN_CHUNK = 128, /* depth packed at a time */
    GCAM_EIGEN_ACROSS = 16, /* channels transposed at a time */
    GCAM_EIGEN_ALONG = 128, /* positions transposed at a time */
    GCAM_EIGEN_TILE = 256,  /* positions projected at a time */
    GCAM_EIGEN_VECTORS = 8, /* vectors of m numbers in `space` beside the basis */
};

enum { GCAM_EIGEN_ENERGY, GCAM_EIGEN_EXTREME, GCAM_EIGEN_TIE, GCAM_EIGEN_MATCH };

typedef enum {
    GCAM_EIGEN_ACTIVATION,
    GCAM_EIGEN_PRODUCT,
    GCAM_EIGEN_ABS_PRODUCT,
    GCAM_EIGEN_RELU_PRODUCT,
    GCAM_EIGEN_RELU_GRADIENT,
    GCAM_EIGEN_WEIGHTED,
    GCAM_EIGEN_TERMS
} gcam_eigen_term;

typedef struct {
    gcam_cam_geom cam;
    gcam_eigen_term term;
    bool centred, replace_nan, kernel_pca, reference;
    int rule;
    double factor;
    bool by_channel;                                        /* m = channels */
    ptrdiff_t side, depth;                                  /* m, and the other size */
    size_t a_count, g_count;                                /* elements of A and g */
    size_t matrix, stats, panels, gram, vector, space, map; /* elements of the other operands */
} gcam_eigen_geom;

gcam_status gcam_eigen_matrix_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_eigen_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_eigen_gram_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_eigen_vector_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_eigen_project_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_eigen_sign_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* The power of two in (peak, 2 peak] of the largest peak; 0 if all are 0, NaN if one is not finite. */
double gcam_eigen_scale(const gcam_eigen_geom *g, const double *stats);

/* The same numbers in (-1, 1) for the same seed. */
void gcam_eigen_start(double *vector, ptrdiff_t n, uint64_t seed);

/* Largest eigenvalue of the symmetric tridiagonal matrix with diagonal a[n] and off-diagonal b[n - 1], searched from
 * `least` up (no eigenvalue need be above it), with its unit eigenvector s[n]. `work` has n numbers. */
double gcam_eigen_tridiagonal(ptrdiff_t n, const double *a, const double *b, double least, double *s, double *work);

#endif
