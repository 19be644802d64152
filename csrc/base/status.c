#include "base/status.h"

#define GCAM_STATUS_ARGUMENT(code, argument, text) argument,
#define GCAM_STATUS_TEXT(code, argument, text) text,

static const char *const arguments[] = {GCAM_STATUS_LIST(GCAM_STATUS_ARGUMENT)};
static const char *const texts[] = {GCAM_STATUS_LIST(GCAM_STATUS_TEXT)};

const char *
gcam_status_argument(gcam_status status)
{
    return (unsigned)status < GCAM_STATUS_COUNT ? arguments[status] : "";
}

const char *
gcam_status_text(gcam_status status)
{
    return (unsigned)status < GCAM_STATUS_COUNT ? texts[status] : "unknown status";
}
