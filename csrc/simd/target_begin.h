/* Compiles what follows for the features in GCAM_TARGET, up to simd/target_end.h. */
#define GCAM_PRAGMA_TEXT(text) _Pragma(#text)
#if defined(__clang__)
#define GCAM_PRAGMA_TARGET(features)                                                                                   \
    GCAM_PRAGMA_TEXT(clang attribute push(__attribute__((target(features))), apply_to = function))
#else
#define GCAM_PRAGMA_TARGET(features) GCAM_PRAGMA_TEXT(GCC push_options) GCAM_PRAGMA_TEXT(GCC target(features))
#endif
GCAM_PRAGMA_TARGET(GCAM_TARGET)
