/* Portable C: always compiled, the oracle of the other levels. */
#define GCAM_ISA scalar
#define GCAM_SUPPORTED NULL
#define GCAM_SUPPORTED_BF16 NULL
#define GCAM_REGISTERS 16
#define GCAM_TILE_ROWS 4
#define GCAM_TILE_VECTORS 2
#include "simd/vec_scalar.h"
#include "dispatch/isa.inc"
