/* The line scanner in portable C. See qd.h. */
#include "scan_bytes.h"

/* [n,n,...]: at least one, at most `cap` integers 0..255 to out. `p` stands behind the '['. */
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

static inline const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    int64_t points = out->n_points, strokes = out->n_strokes;
    if (*p++ != '[') return NULL;
    for (;;) {
        int64_t nx, ny;
        if (p[0] != '[' || p[1] != '[') return NULL;
        if (!(p = coordinates(p + 2, out->x + points, out->cap_points - points, &nx))) return NULL;
        if (p[0] != ',' || p[1] != '[') return NULL;
        if (!(p = coordinates(p + 2, out->y + points, nx, &ny)) || nx != ny) return NULL;
        if (*p++ != ']' || strokes == out->cap_strokes) return NULL;
        points += nx;
        out->stroke_offsets[++strokes] = points;
        if (*p == ',') {
            p++;
            continue;
        }
        *n_points = points;
        *n_strokes = strokes;
        return *p == ']' && points - out->n_points >= 2 ? p + 1 : NULL;
    }
}

#define QD_SCAN qd_scan_portable
#include "scan_line.h"
