/* Names that kernel templates use, for float64. Undone by base/dtype_end.h. */
#define GCAM_DTYPE f64
#define GCAM_DTYPE_IS_F32 0
#define real_t double
#define vreal gcam_vec_f64
#define VLANES GCAM_LANES_F64
