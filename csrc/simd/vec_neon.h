/* NEON of 64-bit ARM: 16-byte vectors. */
#define GCAM_VEC_BYTES 16
#include "simd/vec.h"

GCAM_INLINE gcam_vec_f32
gcam_fma_f32(gcam_vec_f32 a, gcam_vec_f32 b, gcam_vec_f32 c)
{
    return (gcam_vec_f32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

GCAM_INLINE gcam_vec_f64
gcam_fma_f64(gcam_vec_f64 a, gcam_vec_f64 b, gcam_vec_f64 c)
{
    return (gcam_vec_f64)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}

GCAM_INLINE gcam_vec_f64
gcam_widen_f32(const float *p)
{
    return (gcam_vec_f64)vcvt_f64_f32(vld1_f32(p));
}

/* Not the maximum with zero, which makes 0.0 of -0.0: the lanes below zero are cleared. */
GCAM_INLINE gcam_vec_f32
gcam_relu_f32(gcam_vec_f32 v)
{
    return (gcam_vec_f32)vbicq_u32((uint32x4_t)v, vcltzq_f32((float32x4_t)v));
}

GCAM_INLINE gcam_vec_f64
gcam_relu_f64(gcam_vec_f64 v)
{
    return (gcam_vec_f64)vbicq_u64((uint64x2_t)v, vcltzq_f64((float64x2_t)v));
}

#include "simd/bf16.h"
