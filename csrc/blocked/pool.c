#include "blocked/pool.h"

#include <string.h>

static bool
same_shape(const gcam_blocked *a, const gcam_blocked *b)
{
    return a->n == b->n && a->c == b->c && a->h == b->h && a->w == b->w;
}

/* Reads the tensors and, with the plain family's own checks, the windows. */
static gcam_status
geom_init(gcam_blocked_pool_geom *g, const gcam_attributes *attributes, size_t *in, size_t *out, size_t *gradient,
          size_t *scratch_bytes)
{
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->in, in));
    GCAM_TRY(gcam_read_blocked(&reader, &g->out, out));
    if (gradient != NULL) {
        GCAM_TRY(gcam_read_blocked(&reader, &g->gradient, gradient));
        if (!same_shape(&g->in, &g->gradient)) {
            return GCAM_E_DIMENSION;
        }
    }
    gcam_attributes windows = *attributes;
    windows.ints += reader.next_int;
    windows.int_count -= reader.next_int;
    gcam_operands plain = {0};
    GCAM_TRY(gcam_pool_max_output_init(&g->pool, &windows, &plain));
    const gcam_pool_geom *pool = &g->pool;
    if (windows.ints[0] != 2) {
        return GCAM_E_RANK;
    }
    if (windows.ints[1] != g->in.n || windows.ints[2] != g->in.c || pool->in[1] != g->in.h || pool->in[2] != g->in.w) {
        return GCAM_E_DIMENSION;
    }
    if (g->out.n != g->in.n || g->out.c != g->in.c || pool->out[1] != g->out.h || pool->out[2] != g->out.w) {
        return GCAM_E_OUTPUT_SHAPE;
    }
    const ptrdiff_t row[] = {pool->row, GCAM_BLOCK, sizeof(double)};
    size_t row_bytes;
    return gcam_size_product(row, 3, &row_bytes)
                   && gcam_size_add(row_bytes, (size_t)pool->out[2] * sizeof(double), scratch_bytes)
               ? GCAM_OK
               : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_max_pool_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->out[0], NULL, &operands->scratch_bytes);
}

gcam_status
gcam_blocked_max_pool_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    const gcam_blocked_pool_geom *g = geom;
    GCAM_TRY(
        geom_init(geom, attributes, &operands->in[0], &operands->in[1], &operands->out[0], &operands->scratch_bytes));
    /* Taps are counted in integers as wide as the numbers. */
    size_t taps;
    return gcam_size_product(g->pool.kernel, GCAM_MAX_SPACE, &taps) && taps <= INT32_MAX ? GCAM_OK : GCAM_E_SIZE;
}

/* The same, and the bytes of the index. */
static gcam_status
index_init(gcam_blocked_pool_geom *g, const gcam_attributes *attributes, gcam_operands *operands, size_t *in,
           size_t *out, size_t *index)
{
    GCAM_TRY(geom_init(g, attributes, in, out, NULL, &operands->scratch_bytes));
    size_t taps;
    if (!gcam_size_product(g->pool.kernel, GCAM_MAX_SPACE, &taps) || taps > GCAM_NO_TAP) {
        return GCAM_E_KERNEL;
    }
    const ptrdiff_t shape[] = {g->out.n, g->out.blocks, g->out.h, g->out.w, GCAM_BLOCK};
    return gcam_size_product(shape, 5, index) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_max_pool_index_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    operands->out_kind[1] = GCAM_BYTE;
    return index_init(geom, attributes, operands, &operands->in[0], &operands->out[0], &operands->out[1]);
}

gcam_status
gcam_blocked_max_pool_index_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    operands->in_kind[0] = GCAM_BYTE;
    return index_init(geom, attributes, operands, &operands->out[0], &operands->in[1], &operands->in[0]);
}

gcam_status
gcam_blocked_average_pool_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->out[0], NULL, &operands->scratch_bytes);
}

gcam_status
gcam_blocked_average_pool_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->out[0], &operands->in[0], NULL, &operands->scratch_bytes);
}
