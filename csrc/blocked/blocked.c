#include "blocked/blocked.h"

#include <string.h>

#include "ops/unary.h"

gcam_status
gcam_read_blocked(gcam_reader *reader, gcam_blocked *t, size_t *elements)
{
    memset(t, 0, sizeof *t);
    ptrdiff_t *const fields[] = {&t->n, &t->c, &t->h, &t->w, &t->top, &t->left, &t->bottom, &t->right};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        *fields[i] = gcam_read_int(reader);
        if (*fields[i] < 0) {
            return i < 4 ? GCAM_E_DIMENSION : GCAM_E_PADDING;
        }
    }
    if (reader->status != GCAM_OK) {
        return reader->status;
    }
    if (t->n < 1 || t->c < 1 || t->h < 1 || t->w < 1) {
        return GCAM_E_DIMENSION;
    }
    t->blocks = t->c / GCAM_BLOCK + (t->c % GCAM_BLOCK != 0);
    size_t height, width;
    if (!gcam_size_add((size_t)t->h, (size_t)t->top, &height) || !gcam_size_add(height, (size_t)t->bottom, &height)
        || !gcam_size_add((size_t)t->w, (size_t)t->left, &width) || !gcam_size_add(width, (size_t)t->right, &width)) {
        return GCAM_E_SIZE;
    }
    const ptrdiff_t sizes[] = {t->n, t->blocks, (ptrdiff_t)height, (ptrdiff_t)width, GCAM_BLOCK};
    if (!gcam_size_elements(sizes, 5, elements)) {
        return GCAM_E_SIZE;
    }
    t->row = (ptrdiff_t)width * GCAM_BLOCK;
    t->plane = (ptrdiff_t)height * t->row;
    t->picture = t->blocks * t->plane;
    t->origin = t->top * t->row + t->left * GCAM_BLOCK;
    return GCAM_OK;
}

gcam_status
gcam_read_finish(gcam_reader *reader, gcam_epilogue *e)
{
    memset(e, 0, sizeof *e);
    e->op = gcam_read_int(reader);
    e->has_bias = gcam_read_int(reader);
    e->has_residual = gcam_read_int(reader);
    e->alpha = gcam_read_real(reader);
    e->beta = gcam_read_real(reader);
    if (e->op < -1 || e->op >= GCAM_UNARY_OPS || (e->has_bias & ~(ptrdiff_t)1) || (e->has_residual & ~(ptrdiff_t)1)) {
        return GCAM_E_CODE;
    }
    return reader->status;
}

gcam_status
gcam_read_epilogue(gcam_reader *reader, const gcam_blocked *output, gcam_epilogue *e, size_t *residual_elements)
{
    *residual_elements = 0;
    GCAM_TRY(gcam_read_finish(reader, e));
    if (e->has_residual) {
        GCAM_TRY(gcam_read_blocked(reader, &e->residual, residual_elements));
        const gcam_blocked *r = &e->residual;
        if (r->n != output->n || r->c != output->c || r->h != output->h || r->w != output->w) {
            return GCAM_E_DIMENSION;
        }
    }
    return reader->status;
}

void
gcam_blocked_border(const gcam_blocked *t, void *y, size_t bytes, ptrdiff_t first, ptrdiff_t last)
{
    const size_t left = (size_t)(t->left * GCAM_BLOCK) * bytes, right = (size_t)(t->right * GCAM_BLOCK) * bytes;
    const size_t row = (size_t)t->row * bytes, plane = (size_t)t->plane * bytes;
    for (ptrdiff_t block = first; block < last; block++) {
        unsigned char *place = (unsigned char *)y + (size_t)block * plane;
        memset(place, 0, (size_t)t->top * row);
        memset(place + (size_t)(t->top + t->h) * row, 0, (size_t)t->bottom * row);
        for (ptrdiff_t i = t->top; i < t->top + t->h && left + right > 0; i++) {
            memset(place + (size_t)i * row, 0, left);
            memset(place + (size_t)(i + 1) * row - right, 0, right);
        }
    }
}
