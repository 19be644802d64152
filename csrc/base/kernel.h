/* What every kernel family shares: how attributes arrive, what a geometry promises, how a kernel is called.
 *
 * A family has one geometry struct; each of its kernels has a `gcam_<kernel>_init`, which reads the attributes (plain
 * integers and reals, in the order that the family's header states), checks everything with checked arithmetic, and
 * says how many elements each operand must have. After it succeeded the kernel cannot fail: it returns nothing,
 * allocates nothing, and writes only the elements that the geometry promised. */
#ifndef GCAM_BASE_KERNEL_H
#define GCAM_BASE_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/sizes.h"
#include "base/status.h"

#define GCAM_MAX_INPUTS 6
#define GCAM_MAX_OUTPUTS 3
#define GCAM_MAX_SPACE 3 /* spatial axes */
#define GCAM_MAX_RANK 8

typedef enum { GCAM_F32, GCAM_F64, GCAM_DTYPES } gcam_dtype;

/* Element kinds of operands: real numbers of the kernel's dtype, 64-bit indices, bfloat16 in 16 bits, or bytes. */
typedef enum { GCAM_REAL, GCAM_INDEX, GCAM_BF16, GCAM_BYTE, GCAM_KINDS } gcam_kind;

/* Register tiles: rows x columns of the matrix micro-kernel, output channels of the blocked one. Packed layouts depend
 * on them. */
typedef struct {
    ptrdiff_t rows, columns, channels;
} gcam_tile;

typedef struct {
    const int64_t *ints;
    size_t int_count;
    const double *reals;
    size_t real_count;
    gcam_dtype dtype;
    gcam_tile tile; /* of the ISA and dtype in use */
    int bf16;       /* whether this CPU runs that ISA's kernels on bfloat16 */
} gcam_attributes;

/* Elements of each operand; 0 means that the operand must be absent (NULL). Kinds default to GCAM_REAL. */
typedef struct {
    size_t in[GCAM_MAX_INPUTS], out[GCAM_MAX_OUTPUTS];
    gcam_kind in_kind[GCAM_MAX_INPUTS], out_kind[GCAM_MAX_OUTPUTS];
    size_t scratch_bytes; /* per worker */
} gcam_operands;

/* gcam_<kernel>_init: fills the family's geometry from the attributes and states this kernel's operands. */
typedef gcam_status (*gcam_kernel_init)(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
typedef void (*gcam_compute)(const void *geom, const void *const *in, void *const *out, void *scratch, int worker,
                             int workers);

/* Reads attributes in order; the first failure sticks. */
typedef struct {
    const gcam_attributes *attributes;
    size_t next_int, next_real;
    gcam_status status;
} gcam_reader;

static inline gcam_reader
gcam_reader_start(const gcam_attributes *attributes)
{
    return (gcam_reader){attributes, 0, 0, GCAM_OK};
}

static inline ptrdiff_t
gcam_read_int(gcam_reader *reader)
{
    if (reader->next_int >= reader->attributes->int_count) {
        reader->status = GCAM_E_ATTRIBUTE_COUNT;
        return 0;
    }
    const int64_t value = reader->attributes->ints[reader->next_int++];
    if (value > PTRDIFF_MAX || value < -PTRDIFF_MAX) {
        reader->status = GCAM_E_SIZE;
        return 0;
    }
    return (ptrdiff_t)value;
}

static inline void
gcam_read_ints(gcam_reader *reader, ptrdiff_t *values, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        values[i] = gcam_read_int(reader);
    }
}

static inline double
gcam_read_real(gcam_reader *reader)
{
    if (reader->next_real >= reader->attributes->real_count) {
        reader->status = GCAM_E_ATTRIBUTE_COUNT;
        return 0;
    }
    return reader->attributes->reals[reader->next_real++];
}

/* GCAM_OK when all attributes were there and none is left over. */
static inline gcam_status
gcam_reader_finish(const gcam_reader *reader)
{
    if (reader->status != GCAM_OK) {
        return reader->status;
    }
    const int all =
        reader->next_int == reader->attributes->int_count && reader->next_real == reader->attributes->real_count;
    return all ? GCAM_OK : GCAM_E_ATTRIBUTE_COUNT;
}

#endif
