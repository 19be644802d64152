/* AVX-512 F, VL, DQ and BW: 64-byte vectors; AVX512_BF16 in the two functions that need it and only run where it is. */
#define GCAM_VEC_BYTES 64
#define GCAM_VEC_LIMITS
#define GCAM_VEC_NARROW
#include "simd/vec.h"

GCAM_INLINE gcam_vec_f32
gcam_fma_f32(gcam_vec_f32 a, gcam_vec_f32 b, gcam_vec_f32 c)
{
    return (gcam_vec_f32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

GCAM_INLINE gcam_vec_f64
gcam_fma_f64(gcam_vec_f64 a, gcam_vec_f64 b, gcam_vec_f64 c)
{
    return (gcam_vec_f64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}

GCAM_INLINE gcam_vec_f64
gcam_widen_f32(const float *p)
{
    return (gcam_vec_f64)_mm512_cvtps_pd(_mm256_loadu_ps(p));
}

GCAM_INLINE uint32_t
gcam_bits_f32(gcam_mask_f32 m)
{
    return (uint32_t)_mm512_movepi32_mask((__m512i)m);
}

GCAM_INLINE uint32_t
gcam_bits_f64(gcam_mask_f64 m)
{
    return (uint32_t)_mm512_movepi64_mask((__m512i)m);
}

GCAM_INLINE gcam_mask_f32
gcam_load_bytes_f32(const uint8_t *p)
{
    return (gcam_mask_f32)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

GCAM_INLINE gcam_mask_f64
gcam_load_bytes_f64(const uint8_t *p)
{
    return (gcam_mask_f64)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p));
}

GCAM_INLINE void
gcam_store_bytes_f32(uint8_t *p, gcam_mask_f32 m)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)m));
}

GCAM_INLINE void
gcam_store_bytes_f64(uint8_t *p, gcam_mask_f64 m)
{
    _mm_storel_epi64((__m128i *)p, _mm512_cvtepi64_epi8((__m512i)m));
}

/* The second operand is the result where either is NaN or both are zeros. */
GCAM_INLINE gcam_vec_f32
gcam_relu_f32(gcam_vec_f32 v)
{
    return (gcam_vec_f32)_mm512_max_ps(_mm512_setzero_ps(), (__m512)v);
}

GCAM_INLINE gcam_vec_f64
gcam_relu_f64(gcam_vec_f64 v)
{
    return (gcam_vec_f64)_mm512_max_pd(_mm512_setzero_pd(), (__m512d)v);
}

/* As above: where either is NaN, the second operand is the result. */
GCAM_INLINE gcam_vec_f32
gcam_at_least_f32(gcam_vec_f32 v, gcam_vec_f32 bound)
{
    return (gcam_vec_f32)_mm512_max_ps((__m512)bound, (__m512)v);
}

GCAM_INLINE gcam_vec_f64
gcam_at_least_f64(gcam_vec_f64 v, gcam_vec_f64 bound)
{
    return (gcam_vec_f64)_mm512_max_pd((__m512d)bound, (__m512d)v);
}

GCAM_INLINE gcam_vec_f32
gcam_at_most_f32(gcam_vec_f32 v, gcam_vec_f32 bound)
{
    return (gcam_vec_f32)_mm512_min_ps((__m512)bound, (__m512)v);
}

GCAM_INLINE gcam_vec_f64
gcam_at_most_f64(gcam_vec_f64 v, gcam_vec_f64 bound)
{
    return (gcam_vec_f64)_mm512_min_pd((__m512d)bound, (__m512d)v);
}

#define GCAM_HAS_BF16
#include "simd/bf16.h"

GCAM_INLINE void
gcam_bf16_store_f32(uint16_t *p, gcam_vec_f32 x)
{
    const gcam_bf16_f32 rounded = (gcam_bf16_f32)_mm512_cvtneps_pbh((__m512)x);
    memcpy(p, &rounded, sizeof rounded);
}

GCAM_INLINE gcam_vec_f32
gcam_dot_f32(gcam_pairs_f32 a, gcam_pairs_f32 b, gcam_vec_f32 sum)
{
    return (gcam_vec_f32)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
