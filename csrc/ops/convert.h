/* Real numbers as indices and back.
 *
 *   convert_to_real   (i -> x)    x = i, rounded to the nearest number of the type
 *   convert_to_index  (x -> i)    i = x without its fraction; the nearest index where there is none, 0 for NaN
 *
 * Attributes: int count. The operands may not overlap. No scratch. */
#ifndef GCAM_OPS_CONVERT_H
#define GCAM_OPS_CONVERT_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t count;
} gcam_convert_geom;

gcam_status gcam_convert_to_real_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_convert_to_index_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
