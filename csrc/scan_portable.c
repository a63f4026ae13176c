/* The line scanner in portable C. See qd.h. */
#include "qd.h"

static inline const uint8_t *coordinates(const uint8_t *p, uint8_t *out, int64_t cap, int64_t *n) {
    int64_t i = 0;
    for (;;) {
        unsigned v = (uint8_t)(p[0] - '0');
        if (v > 9 || i == cap) return NULL;
        unsigned next = (uint8_t)(p[1] - '0');
        p++;
        if (next <= 9) {
            if (v == 0) return NULL; /* 07 is not JSON */
            v = v * 10 + next;
            next = (uint8_t)(p[1] - '0');
            p++;
            if (next <= 9) {
                v = v * 10 + next;
                if (v > 255) return NULL;
                p++;
            }
        }
        out[i++] = (uint8_t)v;
        if (*p == ',')
            p++;
        else {
            *n = i;
            return *p == ']' ? p + 1 : NULL; /* a fourth digit ends here, too */
        }
    }
}

#define QD_SCAN qd_scan_portable
#include "scan_line.h"
