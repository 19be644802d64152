/* The sums of cam/fold.h. Uses cam_load and cam_keep of cam/cam.tmpl.h. `what` is a constant wherever this is inlined.
 */

GCAM_INLINE gcam_vec_f64
GCAM_FN(fold_term)(gcam_cam_fold what, gcam_vec_f64 a, gcam_vec_f64 s)
{
    switch (what) {
    case GCAM_FOLD_VALUE:
        return a;
    case GCAM_FOLD_DEVIATION:
        return (a - s) * (a - s);
    case GCAM_FOLD_ABOVE:
        return GCAM_FN(cam_keep)(a > s, gcam_set1_f64(1));
    case GCAM_FOLD_OTHER:
        return GCAM_FN(cam_keep)(a != s, gcam_set1_f64(1));
    default:
        return GCAM_FN(cam_keep)(a - a != (gcam_vec_f64){0}, gcam_set1_f64(1));
    }
}

/* One channel: lane i of vector j holds partial sum j * lanes + i. */
GCAM_INLINE double
GCAM_FN(fold_row)(gcam_cam_fold what, ptrdiff_t positions, const real_t *p, ptrdiff_t px, double s)
{
    enum { W = GCAM_LANES_F64, VECTORS = GCAM_CAM_LANES / W };
    const gcam_vec_f64 all = gcam_set1_f64(s);
    gcam_vec_f64 sums[VECTORS] = {{0}};
    double partial[GCAM_CAM_LANES];
    ptrdiff_t x = 0;
    for (; x + GCAM_CAM_LANES <= positions; x += GCAM_CAM_LANES) {
        for (ptrdiff_t j = 0; j < VECTORS; j++) {
            sums[j] += GCAM_FN(fold_term)(what, GCAM_FN(cam_load)(p + (x + j * W) * px, px, W), all);
        }
    }
    memcpy(partial, sums, sizeof partial);
    for (ptrdiff_t j = 0; x + j < positions; j++) {
        partial[j] += GCAM_FN(fold_term)(what, gcam_set1_f64((double)p[(x + j) * px]), all)[0];
    }
    for (int half = GCAM_CAM_LANES / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            partial[j] += partial[j + half];
        }
    }
    return partial[0];
}

/* n adjacent channels, as many as lanes or fewer. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(fold_columns)(gcam_cam_fold what, ptrdiff_t n, ptrdiff_t positions, const real_t *p, ptrdiff_t px,
                      gcam_vec_f64 s)
{
    gcam_vec_f64 sums[GCAM_CAM_LANES] = {{0}};
    ptrdiff_t x = 0;
    for (; x + GCAM_CAM_LANES <= positions; x += GCAM_CAM_LANES) {
        for (ptrdiff_t j = 0; j < GCAM_CAM_LANES; j++) {
            sums[j] += GCAM_FN(fold_term)(what, GCAM_FN(cam_load)(p + (x + j) * px, 1, n), s);
        }
    }
    for (ptrdiff_t j = 0; x + j < positions; j++) {
        sums[j] += GCAM_FN(fold_term)(what, GCAM_FN(cam_load)(p + (x + j) * px, 1, n), s);
    }
    for (int half = GCAM_CAM_LANES / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            sums[j] += sums[j + half];
        }
    }
    return sums[0];
}

/* sums[c] of the n <= GCAM_FOLD_CHANNELS channels from `first` on; s has GCAM_FOLD_CHANNELS numbers. */
GCAM_INLINE void
GCAM_FN(fold)(gcam_cam_fold what, const gcam_cam_view *view, ptrdiff_t first, ptrdiff_t n, const real_t *p,
              const double *s, double sums[GCAM_FOLD_CHANNELS])
{
    const gcam_cam_strides at = view->at;
    p += first * at.c;
    if (at.x != 1 && at.c == 1) {
        for (ptrdiff_t c = 0; c < n; c += GCAM_LANES_F64) {
            const gcam_vec_f64 lanes = gcam_load_f64(s + c);
            gcam_store_f64(sums + c,
                           n - c >= GCAM_LANES_F64
                               ? GCAM_FN(fold_columns)(what, GCAM_LANES_F64, view->positions, p + c, at.x, lanes)
                               : GCAM_FN(fold_columns)(what, n - c, view->positions, p + c, at.x, lanes));
        }
    } else if (at.x == 1) {
        for (ptrdiff_t c = 0; c < n; c++) {
            sums[c] = GCAM_FN(fold_row)(what, view->positions, p + c * at.c, 1, s[c]);
        }
    } else {
        for (ptrdiff_t c = 0; c < n; c++) {
            sums[c] = GCAM_FN(fold_row)(what, view->positions, p + c * at.c, at.x, s[c]);
        }
    }
}
