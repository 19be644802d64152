/* AVX2 + FMA: 32-byte vectors. */
#define GCAM_VEC_BYTES 32
#define GCAM_VEC_LIMITS
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
