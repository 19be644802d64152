/* A loop whose output may be the same array as an input, index by index, but never overlaps one otherwise. Without the
 * word the compiler guards its vector code with an overlap test, and work in place would run the scalar loop. */
#ifndef GCAM_OPS_INPLACE_H
#define GCAM_OPS_INPLACE_H

#if defined(__clang__)
#define GCAM_INPLACE_LOOP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define GCAM_INPLACE_LOOP _Pragma("GCC ivdep")
#else
#define GCAM_INPLACE_LOOP
#endif

#endif
