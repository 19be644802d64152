#include "blocked/window.h"

/* Larger numbers are refused: a product of two then fits into 64 bits. */
#define LARGEST ((ptrdiff_t)1 << 28)

gcam_status
gcam_read_window(gcam_reader *reader, gcam_window *window)
{
    gcam_read_ints(reader, window->kernel, 2);
    gcam_read_ints(reader, window->stride, 2);
    gcam_read_ints(reader, window->pad_lo, 2);
    gcam_read_ints(reader, window->pad_hi, 2);
    gcam_read_ints(reader, window->dilation, 2);
    return reader->status;
}

static gcam_status
check_axis(const gcam_window *window, int a, ptrdiff_t in, ptrdiff_t out)
{
    const ptrdiff_t kernel = window->kernel[a], stride = window->stride[a], dilation = window->dilation[a];
    const ptrdiff_t pad_lo = window->pad_lo[a], pad_hi = window->pad_hi[a];
    if (kernel < 1) {
        return GCAM_E_KERNEL;
    }
    if (stride < 1) {
        return GCAM_E_STRIDE;
    }
    if (dilation < 1) {
        return GCAM_E_DILATION;
    }
    if (pad_lo < 0 || pad_hi < 0) {
        return GCAM_E_PADDING;
    }
    if (in > LARGEST || kernel > LARGEST || stride > LARGEST || dilation > LARGEST || pad_lo > LARGEST
        || pad_hi > LARGEST) {
        return GCAM_E_SIZE;
    }
    const ptrdiff_t room = in + pad_lo + pad_hi - (dilation * (kernel - 1) + 1);
    return room >= 0 && out == room / stride + 1 ? GCAM_OK : GCAM_E_OUTPUT_SHAPE;
}

gcam_status
gcam_check_window(const gcam_window *window, ptrdiff_t x_h, ptrdiff_t x_w, ptrdiff_t h, ptrdiff_t w)
{
    GCAM_TRY(check_axis(window, 0, x_h, h));
    return check_axis(window, 1, x_w, w);
}

gcam_status
gcam_check_border(const gcam_window *window, const gcam_blocked *x, const gcam_blocked *y)
{
    const ptrdiff_t in[] = {x->h, x->w}, out[] = {y->h, y->w}, low[] = {x->top, x->left},
                    high[] = {x->bottom, x->right};
    for (int a = 0; a < 2; a++) {
        const ptrdiff_t last = (out[a] - 1) * window->stride[a] + (window->kernel[a] - 1) * window->dilation[a];
        if (window->pad_lo[a] > low[a] || last - window->pad_lo[a] >= in[a] + high[a]) {
            return GCAM_E_PADDING;
        }
    }
    return GCAM_OK;
}
