#include "ops/binary.h"

/* 1 + sum (shape - 1) stride; 0 if an axis with a stride is empty. */
static gcam_status
view_elements(ptrdiff_t rank, const ptrdiff_t *shape, const ptrdiff_t *stride, size_t *elements)
{
    int empty = 0;
    *elements = 1;
    for (ptrdiff_t axis = 0; axis < rank; axis++) {
        size_t reach;
        if (stride[axis] < 0) {
            return GCAM_E_VIEW;
        }
        if (shape[axis] == 0) {
            empty |= stride[axis] > 0;
        } else if (!gcam_size_mul((size_t)shape[axis] - 1, (size_t)stride[axis], &reach)
                   || !gcam_size_add(*elements, reach, elements)) {
            return GCAM_E_SIZE;
        }
    }
    *elements = empty ? 0 : *elements;
    return GCAM_OK;
}

/* Whether a step of the axis before is a whole run of this one (a division: the product might overflow). */
static int
continues(ptrdiff_t stride_before, ptrdiff_t stride, ptrdiff_t size)
{
    return stride_before % size == 0 && stride_before / size == stride;
}

/* Drop axes of size 1; merge an axis into the one before it where one stride serves both. */
static void
collapse(gcam_binary_geom *g)
{
    ptrdiff_t kept = 0;
    for (ptrdiff_t axis = 0; axis < g->rank; axis++) {
        const ptrdiff_t size = g->shape[axis], a = g->a_stride[axis], b = g->b_stride[axis];
        if (size == 1) {
            continue;
        }
        if (kept > 0 && continues(g->a_stride[kept - 1], a, size) && continues(g->b_stride[kept - 1], b, size)) {
            kept--;
            g->shape[kept] *= size;
        } else {
            g->shape[kept] = size;
        }
        g->a_stride[kept] = a;
        g->b_stride[kept] = b;
        kept++;
    }
    if (kept == 0) {
        g->shape[0] = 1;
        g->a_stride[0] = g->b_stride[0] = 0;
        kept = 1;
    }
    g->rank = kept;
}

static gcam_status
geom_init(gcam_binary_geom *g, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_reader reader = gcam_reader_start(attributes);
    const ptrdiff_t op = gcam_read_int(&reader);
    const ptrdiff_t rank = gcam_read_int(&reader);
    if (rank < 0 || rank > GCAM_MAX_RANK) {
        return GCAM_E_RANK;
    }
    gcam_read_ints(&reader, g->shape, rank);
    gcam_read_ints(&reader, g->a_stride, rank);
    gcam_read_ints(&reader, g->b_stride, rank);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (op < 0 || op >= GCAM_BINARY_OPS) {
        return GCAM_E_CODE;
    }
    for (ptrdiff_t axis = 0; axis < rank; axis++) {
        if (g->shape[axis] < 0) {
            return GCAM_E_DIMENSION;
        }
    }
    size_t count;
    if (!gcam_size_product(g->shape, (size_t)rank, &count)) {
        return GCAM_E_SIZE;
    }
    GCAM_TRY(view_elements(rank, g->shape, g->a_stride, &operands->in[0]));
    GCAM_TRY(view_elements(rank, g->shape, g->b_stride, &operands->in[1]));
    operands->out[0] = count;
    g->op = (gcam_binary_op)op;
    g->rank = rank;
    g->count = (ptrdiff_t)count;
    if (count > 0) { /* the strides of an empty view are unchecked, and nobody walks it */
        collapse(g);
    }
    return GCAM_OK;
}

gcam_status
gcam_binary_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, operands);
}

gcam_status
gcam_binary_a_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    GCAM_TRY(geom_init(geom, attributes, operands));
    operands->in[2] = operands->out[0];
    return GCAM_OK;
}

gcam_status
gcam_binary_b_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return gcam_binary_a_grad_init(geom, attributes, operands);
}
