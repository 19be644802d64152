/* Kernels of ops/topk.h: the best so far are a heap with the worst of them on top, which lies in y. */

GCAM_INLINE bool
GCAM_FN(topk_before)(bool largest, const real_t *x, int64_t a, int64_t b)
{
    const bool a_nan = x[a] != x[a], b_nan = x[b] != x[b];
    if (a_nan | b_nan) {
        return a_nan == b_nan ? a < b : b_nan;
    }
    return x[a] == x[b] ? a < b : (x[a] > x[b]) == largest;
}

/* Puts `item` into the heap of `count` at `place`, or below it. */
static void
GCAM_FN(topk_sink)(bool largest, const real_t *x, int64_t *heap, ptrdiff_t count, ptrdiff_t place, int64_t item)
{
    while (place < count / 2) {
        ptrdiff_t child = 2 * place + 1;
        if (child + 1 < count && GCAM_FN(topk_before)(largest, x, heap[child], heap[child + 1])) {
            child++;
        }
        if (!GCAM_FN(topk_before)(largest, x, item, heap[child])) {
            break;
        }
        heap[place] = heap[child];
        place = child;
    }
    heap[place] = item;
}

static void
GCAM_FN(topk_row)(const gcam_topk_geom *g, const real_t *x, int64_t *heap)
{
    for (ptrdiff_t i = 0; i < g->count; i++) {
        heap[i] = i;
    }
    for (ptrdiff_t place = g->count / 2 - 1; place >= 0; place--) {
        GCAM_FN(topk_sink)(g->largest, x, heap, g->count, place, heap[place]);
    }
    for (ptrdiff_t i = g->count; i < g->n; i++) {
        if (GCAM_FN(topk_before)(g->largest, x, i, heap[0])) {
            GCAM_FN(topk_sink)(g->largest, x, heap, g->count, 0, i);
        }
    }
    for (ptrdiff_t last = g->count - 1; last > 0; last--) {
        const int64_t worst = heap[0];
        GCAM_FN(topk_sink)(g->largest, x, heap, last, 0, heap[last]);
        heap[last] = worst;
    }
}

static void
GCAM_FN(topk_output)(const gcam_topk_geom *g, const real_t *restrict x, int64_t *restrict y, void *scratch, int worker,
                     int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->outer, worker, workers, &begin, &end);
    for (ptrdiff_t o = begin; o < end; o++) {
        GCAM_FN(topk_row)(g, x + o * g->n, y + o * g->count);
    }
}
