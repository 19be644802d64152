/* AVX2 + FMA: 32-byte vectors. */
#define GCAM_VEC_BYTES 32
#define GCAM_VEC_LIMITS
#define GCAM_VEC_NARROW
#include "simd/vec.h"

GCAM_INLINE gcam_vec_f32
gcam_fma_f32(gcam_vec_f32 a, gcam_vec_f32 b, gcam_vec_f32 c)
{
    return (gcam_vec_f32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

GCAM_INLINE gcam_vec_f64
gcam_fma_f64(gcam_vec_f64 a, gcam_vec_f64 b, gcam_vec_f64 c)
{
    return (gcam_vec_f64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}

GCAM_INLINE gcam_vec_f64
gcam_widen_f32(const float *p)
{
    return (gcam_vec_f64)_mm256_cvtps_pd(_mm_loadu_ps(p));
}

GCAM_INLINE uint32_t
gcam_bits_f32(gcam_mask_f32 m)
{
    return (uint32_t)_mm256_movemask_ps((__m256)m);
}

GCAM_INLINE uint32_t
gcam_bits_f64(gcam_mask_f64 m)
{
    return (uint32_t)_mm256_movemask_pd((__m256d)m);
}

GCAM_INLINE gcam_mask_f32
gcam_load_bytes_f32(const uint8_t *p)
{
    return (gcam_mask_f32)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

GCAM_INLINE gcam_mask_f64
gcam_load_bytes_f64(const uint8_t *p)
{
    int32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return (gcam_mask_f64)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes));
}

GCAM_INLINE void
gcam_store_bytes_f32(uint8_t *p, gcam_mask_f32 m)
{
    const __m128i low = _mm256_castsi256_si128((__m256i)m), high = _mm256_extracti128_si256((__m256i)m, 1);
    const __m128i words = _mm_packus_epi32(low, high);
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}

GCAM_INLINE void
gcam_store_bytes_f64(uint8_t *p, gcam_mask_f64 m)
{
    for (int i = 0; i < GCAM_LANES_F64; i++) {
        p[i] = (uint8_t)m[i];
    }
}

/* The second operand is the result where either is NaN or both are zeros. */
GCAM_INLINE gcam_vec_f32
gcam_relu_f32(gcam_vec_f32 v)
{
    return (gcam_vec_f32)_mm256_max_ps(_mm256_setzero_ps(), (__m256)v);
}

GCAM_INLINE gcam_vec_f64
gcam_relu_f64(gcam_vec_f64 v)
{
    return (gcam_vec_f64)_mm256_max_pd(_mm256_setzero_pd(), (__m256d)v);
}

/* As above: where either is NaN, the second operand is the result. */
GCAM_INLINE gcam_vec_f32
gcam_at_least_f32(gcam_vec_f32 v, gcam_vec_f32 bound)
{
    return (gcam_vec_f32)_mm256_max_ps((__m256)bound, (__m256)v);
}

GCAM_INLINE gcam_vec_f64
gcam_at_least_f64(gcam_vec_f64 v, gcam_vec_f64 bound)
{
    return (gcam_vec_f64)_mm256_max_pd((__m256d)bound, (__m256d)v);
}

GCAM_INLINE gcam_vec_f32
gcam_at_most_f32(gcam_vec_f32 v, gcam_vec_f32 bound)
{
    return (gcam_vec_f32)_mm256_min_ps((__m256)bound, (__m256)v);
}

GCAM_INLINE gcam_vec_f64
gcam_at_most_f64(gcam_vec_f64 v, gcam_vec_f64 bound)
{
    return (gcam_vec_f64)_mm256_min_pd((__m256d)bound, (__m256d)v);
}

#include "simd/bf16.h"
