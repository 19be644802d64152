/* bfloat16 in the SIMD vocabulary: a float32 of which the upper 16 bits are kept. Included once per ISA, after the
 * fused operations.
 *
 *   V(bf16_load)(p)      VLANES numbers as reals
 *   V(bf16_store)(p, v)  VLANES numbers, rounded to nearest, ties to even
 *   V(pairs_load)(p)     VLANES pairs of neighbours
 *   V(pairs_set1)(p)     the pair at p in all lanes
 *   V(dot)(a, b, sum)    sum + a[1] b[1] + a[0] b[0] of the pairs of each lane, rounded after each addition
 *
 * Rounding turns subnormal numbers into zeros and any NaN into a quiet one, as AVX512_BF16 does. What that does beyond,
 * flushing subnormal sums in V(dot), is left to it: numbers below 2^-126 are nobody's activations. */
#ifndef GCAM_SIMD_BF16_H
#define GCAM_SIMD_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Types and transfers for `lanes` lanes. */
#define GCAM_BF16_COMMON(suffix, lanes)                                                                                \
    typedef uint16_t gcam_bf16_##suffix __attribute__((vector_size(2 * (lanes))));                                     \
    typedef uint32_t gcam_pairs_##suffix __attribute__((vector_size(4 * (lanes))));                                    \
    typedef float gcam_singles_##suffix __attribute__((vector_size(4 * (lanes))));                                     \
    GCAM_INLINE gcam_vec_##suffix gcam_bf16_widen_##suffix(gcam_pairs_##suffix bits)                                   \
    {                                                                                                                  \
        return __builtin_convertvector((gcam_singles_##suffix)bits, gcam_vec_##suffix);                                \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_bf16_load_##suffix(const uint16_t *p)                                           \
    {                                                                                                                  \
        gcam_bf16_##suffix v;                                                                                          \
        memcpy(&v, p, sizeof v);                                                                                       \
        return gcam_bf16_widen_##suffix(__builtin_convertvector(v, gcam_pairs_##suffix) << 16);                        \
    }                                                                                                                  \
    GCAM_INLINE gcam_pairs_##suffix gcam_pairs_load_##suffix(const uint16_t *p)                                        \
    {                                                                                                                  \
        gcam_pairs_##suffix v;                                                                                         \
        memcpy(&v, p, sizeof v);                                                                                       \
        return v;                                                                                                      \
    }                                                                                                                  \
    GCAM_INLINE gcam_pairs_##suffix gcam_pairs_set1_##suffix(const uint16_t *p)                                        \
    {                                                                                                                  \
        uint32_t pair;                                                                                                 \
        memcpy(&pair, p, sizeof pair);                                                                                 \
        return pair | (gcam_pairs_##suffix){0};                                                                        \
    }

/* Arithmetic where the ISA has none. */
#define GCAM_BF16_EMULATED(suffix)                                                                                     \
    GCAM_INLINE void gcam_bf16_store_##suffix(uint16_t *p, gcam_vec_##suffix x)                                        \
    {                                                                                                                  \
        typedef gcam_pairs_##suffix bits;                                                                              \
        const bits v = (bits) __builtin_convertvector(x, gcam_singles_##suffix), size = v & 0x7fffffffU;               \
        const bits is_nan = (bits)(size > 0x7f800000U), is_normal = (bits)(size >= 0x00800000U);                       \
        const bits rounded = ((v + 0x7fffU + (v >> 16 & 1U)) & is_normal) | (v & 0x80000000U);                         \
        const bits kept = (rounded & ~is_nan) | ((v | 0x00400000U) & is_nan);                                          \
        const gcam_bf16_##suffix upper = __builtin_convertvector(kept >> 16, gcam_bf16_##suffix);                      \
        memcpy(p, &upper, sizeof upper);                                                                               \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_dot_##suffix(gcam_pairs_##suffix a, gcam_pairs_##suffix b,                      \
                                                    gcam_vec_##suffix sum)                                             \
    {                                                                                                                  \
        sum = gcam_fma_##suffix(gcam_bf16_widen_##suffix(a & 0xffff0000U), gcam_bf16_widen_##suffix(b & 0xffff0000U),  \
                                sum);                                                                                  \
        return gcam_fma_##suffix(gcam_bf16_widen_##suffix(a << 16), gcam_bf16_widen_##suffix(b << 16), sum);           \
    }

GCAM_BF16_COMMON(f32, GCAM_LANES_F32)
GCAM_BF16_COMMON(f64, GCAM_LANES_F64)
GCAM_BF16_EMULATED(f64)

#ifndef GCAM_HAS_BF16
GCAM_BF16_EMULATED(f32)
#endif

#endif
