/* Names that kernel templates use, for float32. Undone by base/dtype_end.h. */
#define GCAM_DTYPE f32
#define GCAM_DTYPE_IS_F32 1
#define real_t float
#define vreal gcam_vec_f32
#define VLANES GCAM_LANES_F32
