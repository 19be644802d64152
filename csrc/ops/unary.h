/* Elementwise functions of one array; ops/unary.inc has the formulas.
 *
 *   unary_output      (x -> y)         y[i] = f(x[i])                y may be the same array as x
 *   unary_input_grad  (x, dy -> dx)    dx[i] = f'(x[i]) dy[i]        dx may be the same array as x or dy
 *
 * Attributes: ints op (a gcam_unary_op), count; reals alpha, beta. Their meaning: slope for negative values
 * (LeakyRelu), bounds, may be infinite (Clip), scale and shift (HardSigmoid, Affine), the negative limit is -alpha
 * (Elu), the threshold (ThresholdedRelu); unused by the others. No scratch.
 *
 * The gradient of Relu looks at the sign of x only, which y shares: it may be given y in place of x. */
#ifndef GCAM_OPS_UNARY_H
#define GCAM_OPS_UNARY_H

#include "base/kernel.h"

typedef enum {
#define GCAM_UNARY(NAME, Y, DX) GCAM_UNARY_##NAME,
#include "ops/unary.inc"
#undef GCAM_UNARY
    GCAM_UNARY_OPS
} gcam_unary_op;

typedef struct {
    gcam_unary_op op;
    ptrdiff_t count;
    double alpha, beta;
} gcam_unary_geom;

gcam_status gcam_unary_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_unary_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
