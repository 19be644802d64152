/* AVX2 + FMA: 32-byte vectors. */
#define GCAM_VEC_BYTES 32
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
