#include "ops/pool.h"

/* Sizes above this are refused: a product of two fits into 64 bits, a padded row into 32. */
#define LARGEST ((ptrdiff_t)1 << 28)
/* Positions in a plane and in the padding of its last row are 32 bits wide where maxima are looked for. */
#define LARGEST_PLANE ((ptrdiff_t)1 << 30)

static gcam_status
check_axis(gcam_pool_geom *g, int a, bool ceil_mode)
{
    if (g->in[a] < 1) {
        return GCAM_E_DIMENSION;
    }
    if (g->kernel[a] < 1) {
        return GCAM_E_KERNEL;
    }
    if (g->stride[a] < 1) {
        return GCAM_E_STRIDE;
    }
    if (g->dilation[a] < 1) {
        return GCAM_E_DILATION;
    }
    size_t reach;
    if (g->in[a] > LARGEST || g->stride[a] > LARGEST || g->dilation[a] > LARGEST
        || !gcam_size_mul((size_t)g->dilation[a], (size_t)(g->kernel[a] - 1), &reach) || reach >= (size_t)LARGEST) {
        return GCAM_E_SIZE;
    }
    const ptrdiff_t extent = (ptrdiff_t)reach + 1;
    if (g->pad_lo[a] < 0 || g->pad_hi[a] < 0 || g->pad_lo[a] >= extent || g->pad_hi[a] >= extent) {
        return GCAM_E_PADDING;
    }
    const ptrdiff_t room = g->in[a] + g->pad_lo[a] + g->pad_hi[a] - extent + (ceil_mode ? g->stride[a] - 1 : 0);
    if (room < 0) {
        return GCAM_E_OUTPUT_SHAPE;
    }
    g->out[a] = room / g->stride[a] + 1;
    if (ceil_mode && (g->out[a] - 1) * g->stride[a] >= g->in[a] + g->pad_lo[a]) {
        g->out[a]--;
    }
    if (a == GCAM_MAX_SPACE - 1) {
        const ptrdiff_t windows = (g->out[a] - 1) * g->stride[a] + extent, cells = g->pad_lo[a] + g->in[a];
        g->row = windows > cells ? windows : cells;
    }
    return GCAM_OK;
}

static gcam_status
geom_init(gcam_pool_geom *g, const gcam_attributes *attributes, size_t *in, size_t *out, gcam_operands *operands)
{
    gcam_reader reader = gcam_reader_start(attributes);
    const ptrdiff_t rank = gcam_read_int(&reader);
    if (rank < 1 || rank > GCAM_MAX_SPACE) {
        return GCAM_E_RANK;
    }
    const ptrdiff_t n = gcam_read_int(&reader), c = gcam_read_int(&reader), skip = GCAM_MAX_SPACE - rank;
    for (ptrdiff_t a = 0; a < skip; a++) {
        g->in[a] = g->kernel[a] = g->stride[a] = g->dilation[a] = 1;
        g->pad_lo[a] = g->pad_hi[a] = 0;
    }
    gcam_read_ints(&reader, g->in + skip, rank);
    gcam_read_ints(&reader, g->kernel + skip, rank);
    gcam_read_ints(&reader, g->stride + skip, rank);
    gcam_read_ints(&reader, g->pad_lo + skip, rank);
    gcam_read_ints(&reader, g->pad_hi + skip, rank);
    gcam_read_ints(&reader, g->dilation + skip, rank);
    const bool ceil_mode = gcam_read_int(&reader) != 0;
    g->count_include_pad = gcam_read_int(&reader) != 0;
    GCAM_TRY(gcam_reader_finish(&reader));
    if (n < 0 || c < 1) {
        return GCAM_E_DIMENSION;
    }
    for (int a = 0; a < GCAM_MAX_SPACE; a++) {
        GCAM_TRY(check_axis(g, a, ceil_mode));
    }
    size_t planes, in_plane, out_plane;
    if (!gcam_size_mul((size_t)n, (size_t)c, &planes) || !gcam_size_product(g->in, GCAM_MAX_SPACE, &in_plane)
        || !gcam_size_product(g->out, GCAM_MAX_SPACE, &out_plane) || !gcam_size_mul(planes, in_plane, in)
        || !gcam_size_mul(planes, out_plane, out)
        || !gcam_size_mul((size_t)(g->row + 2 * g->out[GCAM_MAX_SPACE - 1]), sizeof(double),
                          &operands->scratch_bytes)) {
        return GCAM_E_SIZE;
    }
    g->planes = (ptrdiff_t)planes;
    return GCAM_OK;
}

gcam_status
gcam_pool_max_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->out[0], operands);
}

static gcam_status
check_plane(const gcam_pool_geom *g)
{
    return g->in[0] * g->in[1] * g->in[2] <= LARGEST_PLANE ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_pool_max_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    GCAM_TRY(geom_init(geom, attributes, &operands->in[0], &operands->in[1], operands));
    operands->out[0] = operands->in[0];
    return check_plane(geom);
}

gcam_status
gcam_pool_max_pick_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    GCAM_TRY(geom_init(geom, attributes, &operands->in[0], &operands->out[0], operands));
    operands->in[1] = operands->in[0];
    return check_plane(geom);
}

gcam_status
gcam_pool_max_index_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    GCAM_TRY(geom_init(geom, attributes, &operands->in[0], &operands->out[0], operands));
    operands->out_kind[0] = GCAM_INDEX;
    return check_plane(geom);
}

gcam_status
gcam_pool_average_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->out[0], operands);
}

gcam_status
gcam_pool_average_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->out[0], &operands->in[0], operands);
}
