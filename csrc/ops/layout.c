#include "ops/layout.h"

/* Smallest and largest element that the view addresses lie in [0, count). Sizes are at least 1. */
static gcam_status
check_view(ptrdiff_t rank, const ptrdiff_t *shape, const ptrdiff_t *strides, ptrdiff_t offset, ptrdiff_t count)
{
    size_t below = 0, above = 0, span, last;
    for (ptrdiff_t a = 0; a < rank; a++) {
        const size_t stride = (size_t)(strides[a] < 0 ? -strides[a] : strides[a]);
        size_t *reach = strides[a] < 0 ? &below : &above;
        if (!gcam_size_mul((size_t)(shape[a] - 1), stride, &span) || !gcam_size_add(*reach, span, reach)) {
            return GCAM_E_VIEW;
        }
    }
    if (offset < 0 || below > (size_t)offset || !gcam_size_add((size_t)offset, above, &last) || last >= (size_t)count) {
        return GCAM_E_VIEW;
    }
    return GCAM_OK;
}

/* Adds an axis in the place that its y stride deserves; a negative y stride is walked from its other end. */
static void
insert_axis(gcam_layout_geom *g, ptrdiff_t size, ptrdiff_t x_stride, ptrdiff_t y_stride)
{
    if (y_stride < 0) {
        g->x_offset += (size - 1) * x_stride;
        g->y_offset += (size - 1) * y_stride;
        x_stride = -x_stride;
        y_stride = -y_stride;
    }
    int a = g->rank++;
    for (; a > 0 && g->y_stride[a - 1] < y_stride; a--) {
        g->size[a] = g->size[a - 1];
        g->x_stride[a] = g->x_stride[a - 1];
        g->y_stride[a] = g->y_stride[a - 1];
    }
    g->size[a] = size;
    g->x_stride[a] = x_stride;
    g->y_stride[a] = y_stride;
}

/* Each y stride exceeds the reach of all smaller ones. Cannot overflow: the view was checked. */
static gcam_status
check_targets(const gcam_layout_geom *g)
{
    ptrdiff_t reach = 0;
    for (int a = g->rank - 1; a >= 0; a--) {
        if (g->y_stride[a] <= reach) {
            return GCAM_E_VIEW;
        }
        reach += (g->size[a] - 1) * g->y_stride[a];
    }
    return GCAM_OK;
}

static void
merge_axes(gcam_layout_geom *g)
{
    int last = 0;
    for (int a = 1; a < g->rank; a++) {
        const ptrdiff_t size = g->size[a];
        if (g->x_stride[last] == size * g->x_stride[a] && g->y_stride[last] == size * g->y_stride[a]) {
            g->size[last] *= size;
        } else {
            g->size[++last] = size;
        }
        g->x_stride[last] = g->x_stride[a];
        g->y_stride[last] = g->y_stride[a];
    }
    g->rank = last + 1;
}

/* If x is not contiguous along the last axis but along another one: that one. */
static int
axis_across(const gcam_layout_geom *g)
{
    const ptrdiff_t inner = g->x_stride[g->rank - 1];
    for (int a = g->rank - 2; a >= 0 && inner != 0 && inner != 1; a--) {
        if (g->x_stride[a] == 1) {
            return a;
        }
    }
    return -1;
}

static gcam_status
geom_init(gcam_layout_geom *g, const gcam_attributes *attributes, gcam_operands *operands, int with_value)
{
    gcam_reader reader = gcam_reader_start(attributes);
    ptrdiff_t shape[GCAM_MAX_RANK], x_strides[GCAM_MAX_RANK], y_strides[GCAM_MAX_RANK];
    const ptrdiff_t rank = gcam_read_int(&reader);
    if (rank < 0 || rank > GCAM_MAX_RANK) {
        return GCAM_E_RANK;
    }
    gcam_read_ints(&reader, shape, rank);
    const ptrdiff_t x_count = gcam_read_int(&reader);
    g->x_offset = gcam_read_int(&reader);
    gcam_read_ints(&reader, x_strides, rank);
    g->y_count = gcam_read_int(&reader);
    g->y_offset = gcam_read_int(&reader);
    gcam_read_ints(&reader, y_strides, rank);
    g->value = with_value ? gcam_read_real(&reader) : 0;
    GCAM_TRY(gcam_reader_finish(&reader));
    size_t count;
    const ptrdiff_t most =
        PTRDIFF_MAX / (ptrdiff_t)sizeof(double); /* so that a step beyond the end does not overflow */
    if (x_count < 0 || x_count > most || g->y_count < 0 || g->y_count > most
        || !gcam_size_product(shape, (size_t)rank, &count)) {
        return GCAM_E_SIZE;
    }
    operands->in[0] = (size_t)x_count;
    operands->out[0] = (size_t)g->y_count;
    g->count = (ptrdiff_t)count;
    g->rank = 0;
    g->across = -1;
    if (count == 0) {
        return GCAM_OK;
    }
    GCAM_TRY(check_view(rank, shape, x_strides, g->x_offset, x_count));
    GCAM_TRY(check_view(rank, shape, y_strides, g->y_offset, g->y_count));
    for (ptrdiff_t a = 0; a < rank; a++) {
        if (shape[a] > 1) {
            insert_axis(g, shape[a], x_strides[a], y_strides[a]);
        }
    }
    if (g->rank == 0) {
        insert_axis(g, 1, 1, 1);
    }
    GCAM_TRY(check_targets(g));
    merge_axes(g);
    g->across = axis_across(g);
    return GCAM_OK;
}

gcam_status
gcam_copy_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, operands, 0);
}

gcam_status
gcam_pad_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, operands, 1);
}
