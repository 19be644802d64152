/* Convolutions and linear layers on bfloat16: source and weights in bfloat16, sums, bias and epilogue in the kernel's
 * type, residual and result in either.
 *
 *   bf16_round          x (multiple of GCAM_BLOCK elements) -> bfloat16, rounded to nearest, ties to even
 *   bf16_conv_pack      as blocked_conv_pack (blocked/conv.h), packed weights in bfloat16
 *   bf16_conv_output    as blocked_conv_output, forward only, source and packed weights in bfloat16
 *   bf16_linear_pack    as linear_pack (blocked/linear.h), packed weights in bfloat16
 *   bf16_linear_output  as linear_output, x and packed weights in bfloat16
 *
 * Attributes of bf16_round: int count. Of the others: those of the kernels named, then ints bf16_result, bf16_residual:
 * whether these operands are bfloat16.
 *
 * Neighbouring input channels are taken in pairs (V(dot), simd/bf16.h): packed weights are
 * [...][GCAM_BLOCK / 2][BLOCKED_CHANNELS][2]. A sum is one chain over blocks, taps and pairs from the bias on, the odd
 * channel of a pair first; its products are exact. A result is rounded once, after the epilogue.
 *
 * Elsewhere than at level avx512 the same sums are computed by float32 instructions, slower than sums in float32. */
#ifndef GCAM_BLOCKED_BF16_H
#define GCAM_BLOCKED_BF16_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t count;
} gcam_bf16_geom;

gcam_status gcam_bf16_round_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_bf16_conv_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_bf16_conv_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_bf16_linear_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_bf16_linear_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* Reads ints bf16_result, bf16_residual; refuses a CPU that does not run these kernels. */
gcam_status gcam_read_bf16(gcam_reader *reader, ptrdiff_t *result, ptrdiff_t *residual);

/* Kinds of source, packed weights, bias and residual, and of the result. */
void gcam_bf16_kinds(ptrdiff_t result, ptrdiff_t residual, gcam_operands *operands);

#endif
