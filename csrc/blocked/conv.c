#include "blocked/conv.h"

#include <string.h>

#include "blocked/bf16.h"
#include "blocked/tile.h"

static gcam_status
read_geom(gcam_blocked_conv_geom *g, const gcam_attributes *attributes, size_t elements[3], int bf16)
{
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->source, &elements[0]));
    GCAM_TRY(gcam_read_blocked(&reader, &g->result, &elements[1]));
    g->groups = gcam_read_int(&reader);
    g->gradient = gcam_read_int(&reader);
    GCAM_TRY(gcam_read_window(&reader, &g->window));
    GCAM_TRY(gcam_read_epilogue(&reader, &g->result, &g->epilogue, &elements[2]));
    if (bf16) {
        GCAM_TRY(gcam_read_bf16(&reader, &g->bf16_result, &g->bf16_residual));
    }
    GCAM_TRY(gcam_reader_finish(&reader));
    return g->gradient < 0 || g->gradient > !bf16 ? GCAM_E_CODE : GCAM_OK;
}

static ptrdiff_t
floor_div(ptrdiff_t a, ptrdiff_t b)
{
    return a / b - (a % b < 0);
}

static ptrdiff_t
greatest_divisor(ptrdiff_t a, ptrdiff_t b)
{
    while (b != 0) {
        const ptrdiff_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

gcam_conv_class
gcam_blocked_conv_class(const gcam_blocked_conv_geom *g, int axis, ptrdiff_t number)
{
    const gcam_window *window = &g->window;
    const ptrdiff_t size = axis == 0 ? g->result.h : g->result.w;
    const ptrdiff_t stride = window->stride[axis], d = window->dilation[axis], pad = window->pad_lo[axis];
    if (!g->gradient) {
        return (gcam_conv_class){.first = 0,
                                 .step = 1,
                                 .count = size,
                                 .jump = stride,
                                 .first_tap = 0,
                                 .tap_step = 1,
                                 .taps = window->kernel[axis],
                                 .offset = -pad,
                                 .tap_offset = d};
    }
    /* Tap r serves this class where number + pad - r d is a multiple of the stride: every tap_step-th one. */
    const ptrdiff_t tap_step = stride / greatest_divisor(stride, d);
    const ptrdiff_t candidates = tap_step < window->kernel[axis] ? tap_step : window->kernel[axis];
    ptrdiff_t first_tap = 0;
    while (first_tap < candidates && (number + pad - first_tap * d) % stride != 0) {
        first_tap++;
    }
    const int any = first_tap < candidates;
    return (gcam_conv_class){.first = number,
                             .step = stride,
                             .count = size > number ? (size - number + stride - 1) / stride : 0,
                             .jump = 1,
                             .first_tap = first_tap,
                             .tap_step = tap_step,
                             .taps = any ? (window->kernel[axis] - first_tap + tap_step - 1) / tap_step : 0,
                             .offset = floor_div(number + pad - first_tap * d, stride),
                             .tap_offset = -(tap_step * d / stride)};
}

gcam_conv_share
gcam_blocked_conv_share(const gcam_blocked_conv_geom *g, ptrdiff_t rows, int worker, int workers)
{
    const ptrdiff_t items = g->group_count * g->tiles, pairs = (rows + GCAM_TILE_RUNS - 1) / GCAM_TILE_RUNS;
    const ptrdiff_t by_rows = (pairs + workers - 1) / workers * items;
    const ptrdiff_t by_tiles = (items + workers - 1) / workers * pairs;
    gcam_conv_share share = {.tile = 0, .tile_end = items, .row = 0, .row_end = pairs};
    if (by_rows < by_tiles || (by_rows == by_tiles && rows >= 28)) {
        gcam_share(pairs, worker, workers, &share.row, &share.row_end);
    } else {
        gcam_share(items, worker, workers, &share.tile, &share.tile_end);
    }
    share.row *= GCAM_TILE_RUNS;
    share.row_end = share.row_end * GCAM_TILE_RUNS < rows ? share.row_end * GCAM_TILE_RUNS : rows;
    return share;
}

static gcam_status
check_border(const gcam_blocked_conv_geom *g)
{
    const ptrdiff_t before[2] = {g->source.top, g->source.left}, after[2] = {g->source.bottom, g->source.right};
    const ptrdiff_t size[2] = {g->source.h, g->source.w};
    for (int axis = 0; axis < 2; axis++) {
        for (ptrdiff_t number = 0; number < g->classes[axis]; number++) {
            const gcam_conv_class c = gcam_blocked_conv_class(g, axis, number);
            if (c.taps == 0) {
                continue;
            }
            const ptrdiff_t reach = (c.taps - 1) * c.tap_offset;
            const ptrdiff_t low = c.offset + (reach < 0 ? reach : 0);
            ptrdiff_t span;
            if (__builtin_mul_overflow(c.count - 1, c.jump, &span)) {
                return GCAM_E_SIZE;
            }
            const ptrdiff_t high = c.offset + (reach > 0 ? reach : 0) + span;
            if (low < -before[axis] || high >= size[axis] + after[axis]) {
                return GCAM_E_PADDING;
            }
        }
    }
    return GCAM_OK;
}

/* Classes that have pixels: a stride may be longer than the picture. */
static ptrdiff_t
class_count(const gcam_blocked_conv_geom *g, ptrdiff_t stride, ptrdiff_t size)
{
    if (!g->gradient) {
        return 1;
    }
    return stride < size ? stride : size;
}

/* How many groups go together so that both sides are whole blocks. */
static gcam_status
merge_groups(gcam_blocked_conv_geom *g)
{
    if (g->groups < 1 || g->source.c % g->groups != 0 || g->result.c % g->groups != 0) {
        return GCAM_E_GROUPS;
    }
    if (g->groups == 1) {
        g->merged = g->group_count = 1;
        g->source_blocks = g->source.blocks;
        g->result_blocks = g->result.blocks;
        return GCAM_OK;
    }
    const ptrdiff_t in = g->source.c / g->groups, out = g->result.c / g->groups;
    for (g->merged = 1; g->merged <= GCAM_BLOCK && g->merged <= g->groups; g->merged++) {
        if (g->groups % g->merged == 0 && in * g->merged % GCAM_BLOCK == 0 && out * g->merged % GCAM_BLOCK == 0) {
            g->group_count = g->groups / g->merged;
            g->source_blocks = in * g->merged / GCAM_BLOCK;
            g->result_blocks = out * g->merged / GCAM_BLOCK;
            return GCAM_OK;
        }
    }
    return GCAM_E_GROUPS;
}

static gcam_status
geom_init(gcam_blocked_conv_geom *g, const gcam_attributes *attributes, int bf16, size_t elements[3], size_t *packed,
          size_t *weights)
{
    GCAM_TRY(read_geom(g, attributes, elements, bf16));
    const gcam_window *window = &g->window;
    const gcam_blocked *x = g->gradient ? &g->result : &g->source, *y = g->gradient ? &g->source : &g->result;
    GCAM_TRY(gcam_check_window(window, x->h, x->w, y->h, y->w));
    if (x->n != y->n) {
        return GCAM_E_DIMENSION;
    }
    GCAM_TRY(merge_groups(g));
    g->classes[0] = class_count(g, window->stride[0], g->result.h);
    g->classes[1] = class_count(g, window->stride[1], g->result.w);
    GCAM_TRY(check_border(g));
    const ptrdiff_t channels = attributes->tile.channels;
    g->tiles = (g->result_blocks * GCAM_BLOCK + channels - 1) / channels;
    const ptrdiff_t *kernel = window->kernel;
    const ptrdiff_t sizes[] = {g->group_count, g->tiles, channels, g->source_blocks, GCAM_BLOCK, kernel[0], kernel[1]};
    const ptrdiff_t plain[] = {g->source.c / g->groups, g->result.c, kernel[0], kernel[1]};
    return gcam_size_elements(sizes, 7, packed) && gcam_size_product(plain, 4, weights) ? GCAM_OK : GCAM_E_SIZE;
}

static gcam_status
pack_init(gcam_blocked_conv_geom *g, const gcam_attributes *attributes, int bf16, gcam_operands *operands)
{
    size_t elements[3];
    return geom_init(g, attributes, bf16, elements, &operands->out[0], &operands->in[0]);
}

static gcam_status
output_init(gcam_blocked_conv_geom *g, const gcam_attributes *attributes, int bf16, gcam_operands *operands)
{
    size_t elements[3], weights;
    GCAM_TRY(geom_init(g, attributes, bf16, elements, &operands->in[1], &weights));
    operands->in[0] = elements[0];
    operands->in[2] = g->epilogue.has_bias ? (size_t)g->result.c : 0;
    operands->in[3] = elements[2];
    operands->out[0] = elements[1];
    operands->scratch_bytes = (size_t)(g->window.kernel[0] * g->window.kernel[1]) * sizeof(ptrdiff_t);
    return GCAM_OK;
}

gcam_status
gcam_blocked_conv_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return pack_init(geom, attributes, 0, operands);
}

gcam_status
gcam_blocked_conv_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return output_init(geom, attributes, 0, operands);
}

gcam_status
gcam_bf16_conv_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    operands->out_kind[0] = GCAM_BF16;
    return pack_init(geom, attributes, 1, operands);
}

gcam_status
gcam_bf16_conv_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_conv_geom *g = geom;
    GCAM_TRY(output_init(g, attributes, 1, operands));
    gcam_bf16_kinds(g->bf16_result, g->bf16_residual, operands);
    return GCAM_OK;
}
