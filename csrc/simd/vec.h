/* The SIMD vocabulary: kernels that need registers by name are written once against it.
 *
 * Included once per ISA, after a header vec_<isa>.h defined GCAM_VEC_BYTES and then the two fused operations,
 * gcam_widen_f32 and the two gcam_relu (of which GCC makes several instructions where there is one); with
 * GCAM_VEC_LIMITS defined also the four gcam_at_least and gcam_at_most, and with GCAM_VEC_NARROW the two
 * gcam_bits, gcam_load_bytes and gcam_store_bytes, for the same reason. Everything else is what GCC's and clang's
 * vector types give on any machine. Suffixes f32 and f64; templates write V(add) and vreal, which the dtype includes
 * (base/dtype_f32.h, base/dtype_f64.h) turn into the right one. Lanes: VLANES.
 *
 *   V(load)(p)          lanes from p, any alignment          V(store)(p, v)       lanes to p, any alignment
 *   V(load_n)(p, n)     n < VLANES lanes, the rest zero      V(store_n)(p, v, n)  n < VLANES lanes
 *   V(set1)(x)          x in all lanes                       V(fma)(a, b, c)      a * b + c (fused where the ISA can)
 *   V(add) V(sub) V(mul)(a, b)                               V(relu)(v)           v < 0 ? 0 : v, keeps NaN and -0.0
 *   V(at_least)(v, b)   v < b ? b : v, keeps NaN             V(at_most)(v, b)     v > b ? b : v, keeps NaN
 *   V(sum)(v)           lanes added in a fixed order         V(widen)(p)          GCAM_LANES_F64 numbers as doubles
 *   V(bits)(m)          bit i: whether lane i is true        V(from_bits)(bits)   all ones or 0 in lane i, by bit i
 *   V(load_bytes)(p)    a byte per lane as an integer        V(store_bytes)(p, m) lanes of 0 to 255 as bytes
 */
#ifndef GCAM_SIMD_VEC_H
#define GCAM_SIMD_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GCAM_LANES_F32 (GCAM_VEC_BYTES / 4)
#define GCAM_LANES_F64 (GCAM_VEC_BYTES / 8)

typedef float gcam_vec_f32 __attribute__((vector_size(GCAM_VEC_BYTES)));
typedef double gcam_vec_f64 __attribute__((vector_size(GCAM_VEC_BYTES)));
typedef int32_t gcam_mask_f32 __attribute__((vector_size(GCAM_VEC_BYTES)));
typedef int64_t gcam_mask_f64 __attribute__((vector_size(GCAM_VEC_BYTES)));

#define GCAM_INLINE static inline __attribute__((always_inline, unused))

#define GCAM_VEC_COMMON(suffix, real, lanes)                                                                           \
    GCAM_INLINE gcam_vec_##suffix gcam_load_##suffix(const real *p)                                                    \
    {                                                                                                                  \
        gcam_vec_##suffix v;                                                                                           \
        memcpy(&v, p, sizeof v);                                                                                       \
        return v;                                                                                                      \
    }                                                                                                                  \
    GCAM_INLINE void gcam_store_##suffix(real *p, gcam_vec_##suffix v)                                                 \
    {                                                                                                                  \
        memcpy(p, &v, sizeof v);                                                                                       \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_load_n_##suffix(const real *p, ptrdiff_t n)                                     \
    {                                                                                                                  \
        gcam_vec_##suffix v = {0};                                                                                     \
        for (ptrdiff_t i = 0; i < n; i++) {                                                                            \
            v[i] = p[i];                                                                                               \
        }                                                                                                              \
        return v;                                                                                                      \
    }                                                                                                                  \
    GCAM_INLINE void gcam_store_n_##suffix(real *p, gcam_vec_##suffix v, ptrdiff_t n)                                  \
    {                                                                                                                  \
        for (ptrdiff_t i = 0; i < n; i++) {                                                                            \
            p[i] = v[i];                                                                                               \
        }                                                                                                              \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_set1_##suffix(real x)                                                           \
    {                                                                                                                  \
        return x - (gcam_vec_##suffix){0}; /* minus: plus would turn -0.0 into 0.0 */                                  \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_add_##suffix(gcam_vec_##suffix a, gcam_vec_##suffix b)                          \
    {                                                                                                                  \
        return a + b;                                                                                                  \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_sub_##suffix(gcam_vec_##suffix a, gcam_vec_##suffix b)                          \
    {                                                                                                                  \
        return a - b;                                                                                                  \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_mul_##suffix(gcam_vec_##suffix a, gcam_vec_##suffix b)                          \
    {                                                                                                                  \
        return a * b;                                                                                                  \
    }                                                                                                                  \
    GCAM_INLINE real gcam_sum_##suffix(gcam_vec_##suffix v)                                                            \
    {                                                                                                                  \
        real sum = 0;                                                                                                  \
        for (int i = 0; i < (lanes); i++) {                                                                            \
            sum += v[i];                                                                                               \
        }                                                                                                              \
        return sum;                                                                                                    \
    }

GCAM_VEC_COMMON(f32, float, GCAM_LANES_F32)
GCAM_VEC_COMMON(f64, double, GCAM_LANES_F64)

#define GCAM_VEC_FROM_BITS(suffix, lanes)                                                                              \
    GCAM_INLINE gcam_mask_##suffix gcam_from_bits_##suffix(uint32_t bits)                                              \
    {                                                                                                                  \
        gcam_mask_##suffix own, all = {0};                                                                             \
        for (int i = 0; i < (lanes); i++) {                                                                            \
            own[i] = 1 << i;                                                                                           \
        }                                                                                                              \
        all += (int)bits;                                                                                              \
        return (all & own) != 0;                                                                                       \
    }

GCAM_VEC_FROM_BITS(f32, GCAM_LANES_F32)
GCAM_VEC_FROM_BITS(f64, GCAM_LANES_F64)

#ifndef GCAM_VEC_NARROW
#define GCAM_VEC_NARROWED(suffix, lanes)                                                                               \
    GCAM_INLINE uint32_t gcam_bits_##suffix(gcam_mask_##suffix m)                                                      \
    {                                                                                                                  \
        uint32_t bits = 0;                                                                                             \
        for (int i = 0; i < (lanes); i++) {                                                                            \
            bits |= (uint32_t)m[i] & 1u << i;                                                                          \
        }                                                                                                              \
        return bits;                                                                                                   \
    }                                                                                                                  \
    GCAM_INLINE gcam_mask_##suffix gcam_load_bytes_##suffix(const uint8_t *p)                                          \
    {                                                                                                                  \
        gcam_mask_##suffix m;                                                                                          \
        for (int i = 0; i < (lanes); i++) {                                                                            \
            m[i] = p[i];                                                                                               \
        }                                                                                                              \
        return m;                                                                                                      \
    }                                                                                                                  \
    GCAM_INLINE void gcam_store_bytes_##suffix(uint8_t *p, gcam_mask_##suffix m)                                       \
    {                                                                                                                  \
        for (int i = 0; i < (lanes); i++) {                                                                            \
            p[i] = (uint8_t)m[i];                                                                                      \
        }                                                                                                              \
    }

GCAM_VEC_NARROWED(f32, GCAM_LANES_F32)
GCAM_VEC_NARROWED(f64, GCAM_LANES_F64)
#endif

#ifndef GCAM_VEC_LIMITS
#define GCAM_VEC_SELECT(suffix, which, a, b)                                                                           \
    (gcam_vec_##suffix)(((which) & (gcam_mask_##suffix)(a)) | (~(which) & (gcam_mask_##suffix)(b)))
#define GCAM_VEC_LIMIT(suffix)                                                                                         \
    GCAM_INLINE gcam_vec_##suffix gcam_at_least_##suffix(gcam_vec_##suffix v, gcam_vec_##suffix bound)                 \
    {                                                                                                                  \
        return GCAM_VEC_SELECT(suffix, v < bound, bound, v);                                                           \
    }                                                                                                                  \
    GCAM_INLINE gcam_vec_##suffix gcam_at_most_##suffix(gcam_vec_##suffix v, gcam_vec_##suffix bound)                  \
    {                                                                                                                  \
        return GCAM_VEC_SELECT(suffix, v > bound, bound, v);                                                           \
    }

GCAM_VEC_LIMIT(f32)
GCAM_VEC_LIMIT(f64)
#endif

GCAM_INLINE gcam_vec_f64
gcam_widen_f64(const double *p)
{
    return gcam_load_f64(p);
}

#endif
