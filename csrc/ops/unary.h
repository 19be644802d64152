/* Elementwise functions of one array; ops/unary.inc has the formulas.
 *
 *   unary_output      (x -> y)         y[i] = f(x[i])                y may be the same array as x
 *   unary_input_grad  (x, dy -> dx)    dx[i] = f'(x[i]) dy[i]        dx may be the same array as x or dy
 *   unary_slope_bits  (x -> bits)      bit i = f'(x[i]) is 1         of functions whose slope is 0 or 1: Relu, Clip
 *   unary_bits_grad   (bits, dy -> dx) dx[i] = bit i ? dy[i] : 0     dx may be the same array as dy; the op is Relu
 *
 * Bits lie in bytes, element 8 i in the lowest bit of byte i; their count is a multiple of GCAM_BITS, the last of them
 * 0.
 *
 * Attributes: ints op (a gcam_unary_op), count; reals alpha, beta. Their meaning: slope for negative values
 * (LeakyRelu), bounds, may be infinite (Clip), scale and shift (HardSigmoid, Affine), the negative limit is -alpha
 * (Elu), the threshold (ThresholdedRelu); unused by the others. No scratch.
 *
 * The gradients of Relu and Clip ask only between which bounds x lies, as y does: they may be given y in place of x. */
#ifndef GCAM_OPS_UNARY_H
#define GCAM_OPS_UNARY_H

#include "base/kernel.h"

#define GCAM_BITS 16 /* that a worker writes at once */

typedef enum {
#define GCAM_UNARY(NAME, Y, DX) GCAM_UNARY_##NAME,
#define GCAM_UNARY_GATE(NAME, F) GCAM_UNARY_##NAME,
#include "ops/unary.inc"
#undef GCAM_UNARY
#undef GCAM_UNARY_GATE
    GCAM_UNARY_OPS
} gcam_unary_op;

typedef struct {
    gcam_unary_op op;
    ptrdiff_t count;
    double alpha, beta;
} gcam_unary_geom;

gcam_status gcam_unary_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_unary_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_unary_slope_bits_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_unary_bits_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
