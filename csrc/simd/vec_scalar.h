/* Portable level: 16-byte vectors of the compiler, multiply and add (fmaf is a slow library call at the baseline). */
#define GCAM_VEC_BYTES 16
#include "simd/vec.h"

GCAM_INLINE gcam_vec_f32
gcam_fma_f32(gcam_vec_f32 a, gcam_vec_f32 b, gcam_vec_f32 c)
{
    return a * b + c;
}

GCAM_INLINE gcam_vec_f64
gcam_fma_f64(gcam_vec_f64 a, gcam_vec_f64 b, gcam_vec_f64 c)
{
    return a * b + c;
}

GCAM_INLINE gcam_vec_f64
gcam_widen_f32(const float *p)
{
    gcam_vec_f64 v;
    for (int i = 0; i < GCAM_LANES_F64; i++) {
        v[i] = (double)p[i];
    }
    return v;
}

GCAM_INLINE gcam_vec_f32
gcam_relu_f32(gcam_vec_f32 v)
{
    return (gcam_vec_f32)(~(v < (gcam_vec_f32){0}) & (gcam_mask_f32)v);
}

GCAM_INLINE gcam_vec_f64
gcam_relu_f64(gcam_vec_f64 v)
{
    return (gcam_vec_f64)(~(v < (gcam_vec_f64){0}) & (gcam_mask_f64)v);
}

#include "simd/bf16.h"
