/* Ends what base/dtype_f32.h or base/dtype_f64.h began. */
#undef GCAM_DTYPE
#undef GCAM_DTYPE_IS_F32
#undef real_t
#undef vreal
#undef VLANES
