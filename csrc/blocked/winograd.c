#include "blocked/winograd.h"

#include <string.h>

/* Tiles of a block: a multiple of what the widest register tile takes, so that patches and products of 64 channels stay
 * in the second-level cache. A picture of up to twice as many is one block: its weights are then read once. */
#define BLOCK_TILES 28
/* Output blocks of a group: its products are transformed before the cache has lost them. */
#define GROUP_BLOCKS 8
/* Elements added from matrix to matrix, so that the 36 stores of a patch do not all go to the same cache set. */
#define SKEW 16

static size_t
element_bytes(const gcam_attributes *attributes)
{
    return attributes->dtype == GCAM_F64 ? sizeof(double) : sizeof(float);
}

/* Packed elements for so many rows and blocks of columns. */
static gcam_status
packed_elements(ptrdiff_t rows, ptrdiff_t column_blocks, size_t *elements)
{
    size_t padded;
    if (!gcam_size_round_up((size_t)rows, GCAM_WINOGRAD_ROWS, &padded)) {
        return GCAM_E_SIZE;
    }
    const ptrdiff_t sizes[] = {GCAM_WINOGRAD_POINTS, (ptrdiff_t)padded, column_blocks, GCAM_BLOCK};
    return gcam_size_elements(sizes, 4, elements) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_winograd_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_winograd_pack_geom *g = geom;
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    g->k = gcam_read_int(&reader);
    g->c = gcam_read_int(&reader);
    g->gradient = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->k < 1 || g->c < 1) {
        return GCAM_E_DIMENSION;
    }
    if (g->gradient & ~(ptrdiff_t)1) {
        return GCAM_E_CODE;
    }
    g->rows = g->gradient ? g->c : g->k;
    g->columns = g->gradient ? g->k : g->c;
    g->column_blocks = g->columns / GCAM_BLOCK + (g->columns % GCAM_BLOCK != 0);
    const ptrdiff_t w[] = {g->k, g->c, 9};
    if (!gcam_size_product(w, 3, &operands->in[0])) {
        return GCAM_E_SIZE;
    }
    return packed_elements(g->rows, g->column_blocks, &operands->out[0]);
}

/* Tiles along an axis of y; GCAM_E_PADDING unless x with its border has what they read. */
static gcam_status
tiles_of_axis(ptrdiff_t out, ptrdiff_t pad, ptrdiff_t before, ptrdiff_t in, ptrdiff_t after, ptrdiff_t *tiles)
{
    if (pad < 0 || pad > before) {
        return GCAM_E_PADDING;
    }
    *tiles = (out - 1) / GCAM_WINOGRAD_TILE + 1;
    const ptrdiff_t read = *tiles * GCAM_WINOGRAD_TILE + GCAM_WINOGRAD_PATCH - GCAM_WINOGRAD_TILE;
    return read - pad > in + after ? GCAM_E_PADDING : GCAM_OK;
}

/* Block sizes and the scratch that they need. They depend on one picture's shape alone. */
static gcam_status
derive_blocks(gcam_winograd_geom *g, size_t element, size_t *scratch_bytes)
{
    const ptrdiff_t tiles = g->tile_rows * g->tile_columns;
    g->block = tiles <= 2 * BLOCK_TILES ? tiles : BLOCK_TILES;
    const ptrdiff_t whole = g->y.blocks + g->y.blocks % 2; /* of GCAM_WINOGRAD_ROWS */
    g->group = whole < GROUP_BLOCKS ? whole : GROUP_BLOCKS;
    const ptrdiff_t in[] = {g->x.blocks, g->block, GCAM_BLOCK};
    size_t plane;
    if (!gcam_size_product(in, 3, &plane) || !gcam_size_add(plane, SKEW, &plane)) {
        return GCAM_E_SIZE;
    }
    g->in_plane = (ptrdiff_t)plane;
    g->out_plane = g->group * g->block * GCAM_BLOCK + SKEW;
    return gcam_size_add(plane, (size_t)g->out_plane, &plane)
                   && gcam_size_mul(plane, GCAM_WINOGRAD_POINTS * element, scratch_bytes)
               ? GCAM_OK
               : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_winograd_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_winograd_geom *g = geom;
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->x, &operands->in[0]));
    GCAM_TRY(gcam_read_blocked(&reader, &g->y, &operands->out[0]));
    const ptrdiff_t top = gcam_read_int(&reader), left = gcam_read_int(&reader);
    GCAM_TRY(gcam_read_epilogue(&reader, &g->y, &g->epilogue, &operands->in[3]));
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->x.n != g->y.n) {
        return GCAM_E_DIMENSION;
    }
    GCAM_TRY(tiles_of_axis(g->y.h, top, g->x.top, g->x.h, g->x.bottom, &g->tile_rows));
    GCAM_TRY(tiles_of_axis(g->y.w, left, g->x.left, g->x.w, g->x.right, &g->tile_columns));
    g->corner = g->x.origin - top * g->x.row - left * GCAM_BLOCK;
    GCAM_TRY(packed_elements(g->y.c, g->x.blocks, &operands->in[1]));
    operands->in[2] = g->epilogue.has_bias ? (size_t)g->y.c : 0;
    return derive_blocks(g, element_bytes(attributes), &operands->scratch_bytes);
}

/* Time of a part, in the time that the transform of one block of one patch takes. Measured: a product with a tile of
 * output channels takes 3 per output block, and reading its weights again for each block of tiles as long as 8 tiles.
 */
static double
part_cost(const gcam_winograd_geom *g, ptrdiff_t tiles, ptrdiff_t channel_tiles, ptrdiff_t channel_blocks)
{
    const double in = (double)g->x.blocks, out = (double)(channel_tiles * channel_blocks), n = (double)tiles;
    const double passes = (double)((tiles - 1) / g->block + 1);
    return n * (in + out + 3 * in * out) + passes * 24 * in * out;
}

gcam_winograd_share
gcam_winograd_part(const gcam_winograd_geom *g, ptrdiff_t channel_tiles, ptrdiff_t channel_blocks, int worker,
                   int workers)
{
    const ptrdiff_t tiles = g->y.n * g->tile_rows * g->tile_columns;
    double least = 0;
    int columns = 1; /* workers that share the same tiles and split the channels */
    for (int q = 1; q <= workers && q <= channel_tiles; q++) {
        const ptrdiff_t rows = workers / q;
        const double cost = part_cost(g, (tiles - 1) / rows + 1, (channel_tiles - 1) / q + 1, channel_blocks);
        if (q == 1 || cost < least) {
            least = cost;
            columns = q;
        }
    }
    gcam_winograd_share share = {0, 0, 0, 0};
    const int rows = workers / columns;
    if (worker < rows * columns) {
        gcam_share(tiles, worker / columns, rows, &share.first, &share.last);
        gcam_share(channel_tiles, worker % columns, columns, &share.channel_first, &share.channel_last);
    }
    return share;
}
