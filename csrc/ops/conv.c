#include "ops/conv.h"

#include <string.h>

#include "ops/gemm.h"

/* One row of attributes: `rank` numbers, right-aligned in three with `fill` before them. */
static void
read_axes(gcam_reader *reader, ptrdiff_t rank, ptrdiff_t fill, ptrdiff_t *axes)
{
    for (ptrdiff_t i = 0; i < 3 - rank; i++) {
        axes[i] = fill;
    }
    gcam_read_ints(reader, axes + 3 - rank, rank);
}

static gcam_status
read_geom(gcam_conv_geom *g, const gcam_attributes *attributes)
{
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    g->rank = gcam_read_int(&reader);
    if (g->rank < 1 || g->rank > 3) {
        return GCAM_E_RANK;
    }
    g->n = gcam_read_int(&reader);
    g->c = gcam_read_int(&reader);
    g->k = gcam_read_int(&reader);
    g->groups = gcam_read_int(&reader);
    read_axes(&reader, g->rank, 1, g->in);
    read_axes(&reader, g->rank, 1, g->kernel);
    read_axes(&reader, g->rank, 1, g->stride);
    read_axes(&reader, g->rank, 0, g->pad_lo);
    read_axes(&reader, g->rank, 0, g->pad_hi);
    read_axes(&reader, g->rank, 1, g->dilation);
    g->has_bias = gcam_read_int(&reader);
    g->gradient = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    return (g->has_bias & ~(ptrdiff_t)1) || (g->gradient & ~(ptrdiff_t)1) ? GCAM_E_CODE : GCAM_OK;
}

/* Output sizes; every sum that the kernels form from the geometry is proved not to overflow. */
static gcam_status
derive_output(gcam_conv_geom *g)
{
    if (g->n < 0 || g->c < 1 || g->k < 1) {
        return GCAM_E_DIMENSION;
    }
    if (g->groups < 1 || g->c % g->groups != 0 || g->k % g->groups != 0) {
        return GCAM_E_GROUPS;
    }
    for (int i = 0; i < 3; i++) {
        if (g->in[i] < 1) {
            return GCAM_E_DIMENSION;
        }
        if (g->kernel[i] < 1) {
            return GCAM_E_KERNEL;
        }
        if (g->stride[i] < 1) {
            return GCAM_E_STRIDE;
        }
        if (g->dilation[i] < 1) {
            return GCAM_E_DILATION;
        }
        if (g->pad_lo[i] < 0 || g->pad_hi[i] < 0) {
            return GCAM_E_PADDING;
        }
        size_t reach, padded, span;
        if (!gcam_size_mul((size_t)g->dilation[i], (size_t)g->kernel[i], &reach)
            || !gcam_size_add((size_t)g->in[i], (size_t)g->pad_lo[i], &padded)
            || !gcam_size_add(padded, (size_t)g->pad_hi[i], &padded) || !gcam_size_add(padded, reach, &span)
            || !gcam_size_add(span, (size_t)g->stride[i], &span)) {
            return GCAM_E_SIZE;
        }
        const ptrdiff_t extent = g->dilation[i] * (g->kernel[i] - 1) + 1;
        if ((ptrdiff_t)padded < extent) {
            return GCAM_E_OUTPUT_SHAPE;
        }
        g->out[i] = ((ptrdiff_t)padded - extent) / g->stride[i] + 1;
    }
    return GCAM_OK;
}

typedef struct {
    size_t x, y, w;
} sizes;

/* Elements of `n` blocks, and of one block even if n is 0: kernels add up positions of one picture. */
static int
elements(ptrdiff_t n, const ptrdiff_t *block, size_t rank, size_t *count)
{
    size_t one, bytes;
    return gcam_size_product(block, rank, &one) && gcam_size_mul(one, sizeof(double), &bytes)
           && gcam_size_mul(one, (size_t)n, count) && gcam_size_mul(*count, sizeof(double), &bytes);
}

static gcam_status
derive_sizes(const gcam_conv_geom *g, sizes *s)
{
    const ptrdiff_t x[] = {g->c, g->in[0], g->in[1], g->in[2]};
    const ptrdiff_t y[] = {g->k, g->out[0], g->out[1], g->out[2]};
    const ptrdiff_t w[] = {g->c / g->groups, g->kernel[0], g->kernel[1], g->kernel[2]};
    return elements(g->n, x, 4, &s->x) && elements(g->n, y, 4, &s->y) && elements(g->k, w, 4, &s->w) ? GCAM_OK
                                                                                                     : GCAM_E_SIZE;
}

/* The blocked product that the packed weights serve. */
static gcam_status
derive_product(gcam_conv_geom *g, const gcam_attributes *attributes, size_t *packed, size_t *scratch_bytes)
{
    const ptrdiff_t *space = g->gradient ? g->in : g->out;
    const size_t rows = (size_t)attributes->tile.rows, columns = (size_t)attributes->tile.columns;
    const size_t element = attributes->dtype == GCAM_F32 ? 4 : 8;
    g->rows = (g->gradient ? g->c : g->k) / g->groups;
    g->source_channels = (g->gradient ? g->k : g->c) / g->groups;
    g->depth = g->source_channels * g->kernel[0] * g->kernel[1] * g->kernel[2];
    g->columns = space[0] * space[1] * space[2];
    const size_t padded_rows = ((size_t)g->rows + rows - 1) / rows * rows;
    size_t group, all, bytes;
    if (!gcam_size_mul(padded_rows, (size_t)g->depth, &group) || !gcam_size_mul(group, (size_t)g->groups, &all)
        || !gcam_size_mul(all, element, &bytes)) {
        return GCAM_E_SIZE;
    }
    g->packed_depth_block = (ptrdiff_t)(padded_rows * GEMM_DEPTH);
    g->packed_group = (ptrdiff_t)group;
    *packed = all;
    g->block_columns = (ptrdiff_t)(GEMM_BLOCK_BYTES / GEMM_DEPTH / element / columns * columns);
    g->panel = (ptrdiff_t)(GEMM_DEPTH * columns + GEMM_SKEW);
    const size_t panels = (size_t)g->block_columns / columns;
    *scratch_bytes = (panels * (size_t)g->panel + (size_t)g->block_columns) * element;
    return GCAM_OK;
}

static gcam_status
geom_init(gcam_conv_geom *g, const gcam_attributes *attributes, sizes *s, size_t *packed, size_t *scratch_bytes)
{
    GCAM_TRY(read_geom(g, attributes));
    GCAM_TRY(derive_output(g));
    GCAM_TRY(derive_sizes(g, s));
    return derive_product(g, attributes, packed, scratch_bytes);
}

gcam_status
gcam_conv_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    sizes s;
    size_t scratch_bytes;
    GCAM_TRY(geom_init(geom, attributes, &s, &operands->out[0], &scratch_bytes));
    operands->in[0] = s.w;
    return GCAM_OK;
}

static void
output_operands(const gcam_conv_geom *g, const sizes *s, size_t weights, gcam_operands *operands)
{
    operands->in[0] = s->x;
    operands->in[1] = weights;
    operands->in[2] = g->has_bias ? (size_t)g->k : 0;
    operands->out[0] = s->y;
}

static void
input_grad_operands(const sizes *s, size_t weights, gcam_operands *operands)
{
    operands->in[0] = s->y;
    operands->in[1] = weights;
    operands->out[0] = s->x;
}

gcam_status
gcam_conv_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    const gcam_conv_geom *g = geom;
    sizes s;
    size_t packed;
    GCAM_TRY(geom_init(geom, attributes, &s, &packed, &operands->scratch_bytes));
    output_operands(g, &s, packed, operands);
    return g->gradient ? GCAM_E_CODE : GCAM_OK;
}

gcam_status
gcam_conv_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    const gcam_conv_geom *g = geom;
    sizes s;
    size_t packed;
    GCAM_TRY(geom_init(geom, attributes, &s, &packed, &operands->scratch_bytes));
    input_grad_operands(&s, packed, operands);
    return g->gradient ? GCAM_OK : GCAM_E_CODE;
}

gcam_status
gcam_conv_weight_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    const gcam_conv_geom *g = geom;
    sizes s;
    size_t packed, scratch_bytes;
    GCAM_TRY(geom_init(geom, attributes, &s, &packed, &scratch_bytes));
    operands->in[0] = s.y;
    operands->in[1] = s.x;
    operands->out[0] = s.w;
    operands->scratch_bytes = (CONV_GRAD_LINES + CONV_PATCH_LINES) * (CONV_LINE_BYTES + CONV_LINE_SKEW);
    return g->gradient || g->has_bias ? GCAM_E_CODE : GCAM_OK;
}

gcam_status
gcam_conv_output_naive_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    sizes s;
    size_t packed, scratch_bytes;
    GCAM_TRY(geom_init(geom, attributes, &s, &packed, &scratch_bytes));
    output_operands(geom, &s, s.w, operands);
    return GCAM_OK;
}

gcam_status
gcam_conv_input_grad_naive_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    sizes s;
    size_t packed, scratch_bytes;
    GCAM_TRY(geom_init(geom, attributes, &s, &packed, &scratch_bytes));
    input_grad_operands(&s, s.w, operands);
    return GCAM_OK;
}
