#include "ops/reduce.h"

#include <stdbool.h>
#include <string.h>

/* The innermost loop leaves the list and becomes *size, *stride. */
static void
take_innermost(gcam_reduce_loops *loops, ptrdiff_t *size, ptrdiff_t *stride)
{
    *size = *stride = 1;
    if (loops->rank > 0) {
        loops->rank--;
        *size = loops->size[loops->rank];
        *stride = loops->stride[loops->rank];
    }
}

/* Axes from the innermost outwards join their neighbour of the same kind; lists come out outermost first. */
static void
collapse(gcam_reduce_geom *g, ptrdiff_t rank, const ptrdiff_t *shape, const ptrdiff_t *reduced)
{
    int last = -1;
    ptrdiff_t stride = 1;
    for (ptrdiff_t a = rank - 1; a >= 0; a--) {
        if (shape[a] == 1) {
            continue;
        }
        const int kind = reduced[a] != 0;
        gcam_reduce_loops *loops = kind ? &g->reduced : &g->kept;
        if (kind == last) {
            loops->size[loops->rank - 1] *= shape[a];
        } else {
            loops->size[loops->rank] = shape[a];
            loops->stride[loops->rank++] = stride;
        }
        last = kind;
        stride *= shape[a];
    }
}

static void
reverse(gcam_reduce_loops *loops)
{
    for (int a = 0, b = loops->rank - 1; a < b; a++, b--) {
        const ptrdiff_t size = loops->size[a], stride = loops->stride[a];
        loops->size[a] = loops->size[b];
        loops->stride[a] = loops->stride[b];
        loops->size[b] = size;
        loops->stride[b] = stride;
    }
}

static void
count_steps(gcam_reduce_loops *loops)
{
    loops->count = 1;
    for (int a = 0; a < loops->rank; a++) {
        loops->count *= loops->size[a];
    }
}

static gcam_status
geom_init(gcam_reduce_geom *g, const gcam_attributes *attributes, size_t *x, size_t *y)
{
    gcam_reader reader = gcam_reader_start(attributes);
    ptrdiff_t shape[GCAM_MAX_RANK], reduced[GCAM_MAX_RANK];
    const ptrdiff_t op = gcam_read_int(&reader), rank = gcam_read_int(&reader);
    if (rank < 0 || rank > GCAM_MAX_RANK) {
        return GCAM_E_RANK;
    }
    gcam_read_ints(&reader, shape, rank);
    gcam_read_ints(&reader, reduced, rank);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (op < 0 || op >= GCAM_REDUCE_OPS) {
        return GCAM_E_CODE;
    }
    *x = *y = 1;
    for (ptrdiff_t a = 0; a < rank; a++) {
        if (reduced[a] != 0 && reduced[a] != 1) {
            return GCAM_E_AXIS;
        }
        if (shape[a] < reduced[a]) { /* nothing to reduce, or a negative size */
            return GCAM_E_DIMENSION;
        }
        if (!gcam_size_mul(*x, (size_t)shape[a], x) || (reduced[a] == 0 && !gcam_size_mul(*y, (size_t)shape[a], y))) {
            return GCAM_E_SIZE;
        }
    }
    memset(g, 0, sizeof *g);
    g->op = (gcam_reduce_op)op;
    if (*y == 0) { /* other sizes may not fit into a product any more: nothing is to be done */
        g->length = g->length_stride = g->inner = g->reduced.count = 1;
        return GCAM_OK;
    }
    collapse(g, rank, shape, reduced);
    g->inner = 1;
    if (g->kept.rank > 0 && g->kept.stride[0] == 1) {
        g->inner = g->kept.size[0];
    }
    reverse(&g->kept);
    reverse(&g->reduced);
    if (g->inner > 1) {
        g->kept.rank--;
    }
    take_innermost(&g->reduced, &g->length, &g->length_stride);
    count_steps(&g->kept);
    count_steps(&g->reduced);
    return GCAM_OK;
}

gcam_status
gcam_reduce_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->out[0]);
}

gcam_status
gcam_reduce_extreme_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    const gcam_reduce_geom *g = geom;
    GCAM_TRY(geom_init(geom, attributes, &operands->in[0], &operands->in[1]));
    operands->in[2] = operands->in[1];
    operands->out[0] = operands->in[0];
    return g->op == GCAM_REDUCE_MAX || g->op == GCAM_REDUCE_MIN ? GCAM_OK : GCAM_E_CODE;
}

gcam_status
gcam_argmax_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_argmax_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->outer = gcam_read_int(&reader);
    g->axis = gcam_read_int(&reader);
    g->inner = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->outer < 0 || g->axis < 1 || g->inner < 0) {
        return GCAM_E_DIMENSION;
    }
    if (!gcam_size_mul((size_t)g->outer, (size_t)g->inner, &operands->out[0])
        || !gcam_size_mul(operands->out[0], (size_t)g->axis, &operands->in[0])) {
        return GCAM_E_SIZE;
    }
    operands->out_kind[0] = GCAM_INDEX;
    return GCAM_OK;
}
