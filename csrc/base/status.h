/* Status codes of every fallible library function: one list gives the code, the guilty argument and the text. */
#ifndef GCAM_BASE_STATUS_H
#define GCAM_BASE_STATUS_H

#define GCAM_STATUS_LIST(X)                                                                                            \
    X(OK, "", "no error")                                                                                              \
    X(NO_MEMORY, "", "an allocation failed")                                                                           \
    X(INTERRUPTED, "", "the run was interrupted")                                                                      \
    X(SIZE, "shape", "expected a size that fits into memory, got one that overflows")                                  \
    X(ATTRIBUTE_COUNT, "attributes", "expected another number of attributes for this kernel")                          \
    X(RANK, "rank", "expected a rank this kernel supports")                                                            \
    X(DIMENSION, "shape", "expected sizes of at least 1 (0 is allowed on the batch axis only)")                        \
    X(AXIS, "axis", "expected an axis of the array")                                                                   \
    X(KERNEL, "kernel", "expected kernel sizes of at least 1")                                                         \
    X(STRIDE, "stride", "expected strides of at least 1")                                                              \
    X(DILATION, "dilation", "expected dilations of at least 1")                                                        \
    X(PADDING, "padding", "expected padding smaller than the kernel's extent")                                         \
    X(GROUPS, "groups", "expected a divisor of the input and the output channels")                                     \
    X(OUTPUT_SHAPE, "shape", "expected an output shape that the geometry can give")                                    \
    X(VIEW, "strides", "expected a view that stays inside its array")                                                  \
    X(CODE, "op", "expected a known operator code")                                                                    \
    X(PARAMETER, "parameter", "expected a finite parameter in its valid range")                                        \
    X(BF16, "isa", "expected a CPU that has AVX512_BF16 at this level")                                                \
    X(BUFFER, "buffers", "expected a buffer of the size and type that the kernel needs")                               \
    X(STEP, "steps", "expected a well-formed step")

#define GCAM_STATUS_ENUM(code, argument, text) GCAM_E_##code,
typedef enum { GCAM_STATUS_LIST(GCAM_STATUS_ENUM) GCAM_STATUS_COUNT } gcam_status;
#undef GCAM_STATUS_ENUM
#define GCAM_OK GCAM_E_OK

const char *gcam_status_argument(gcam_status status);
const char *gcam_status_text(gcam_status status);

/* Return from the calling function unless `expression` is GCAM_OK. */
#define GCAM_TRY(expression)                                                                                           \
    do {                                                                                                               \
        const gcam_status gcam_try_status = (expression);                                                              \
        if (gcam_try_status != GCAM_OK) {                                                                              \
            return gcam_try_status;                                                                                    \
        }                                                                                                              \
    } while (0)

#endif
