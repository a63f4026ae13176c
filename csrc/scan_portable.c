/* The line scanner in portable C. See qd.h. */
#include "scan_json.h"

/* The functions below are compiled twice, without and with white space between the tokens. */
static inline const uint8_t *skip_gap(const uint8_t *p, int spaced) { return spaced ? skip_blanks(p) : p; }

/* n,n,...]: at least one, at most `cap` integers 0..255 to out. */
static inline const uint8_t *coordinates(const uint8_t *p, int spaced, uint8_t *out, int64_t cap, int64_t *n) {
    int64_t i = 0;
    for (;;) {
        p = skip_gap(p, spaced);
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
        p = skip_gap(p, spaced);
        if (*p == ',')
            p++;
        else {
            *n = i;
            return *p == ']' ? p + 1 : NULL; /* a fourth digit ends here, too */
        }
    }
}

/* Two tokens of one character. */
static inline const uint8_t *two(const uint8_t *p, int spaced, uint8_t first, uint8_t second) {
    p = skip_gap(p, spaced);
    if (*p != first) return NULL;
    p = skip_gap(p + 1, spaced);
    return *p == second ? p + 1 : NULL;
}

static inline const uint8_t *strokes(const uint8_t *p, int spaced, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    int64_t points = out->n_points, strokes = out->n_strokes;
    if (*p++ != '[') return NULL;
    for (;;) {
        int64_t nx, ny;
        if (!(p = two(p, spaced, '[', '['))) return NULL;
        if (!(p = coordinates(p, spaced, out->x + points, out->cap_points - points, &nx))) return NULL;
        if (!(p = two(p, spaced, ',', '['))) return NULL;
        if (!(p = coordinates(p, spaced, out->y + points, nx, &ny)) || nx != ny) return NULL;
        p = skip_gap(p, spaced);
        if (*p++ != ']' || strokes == out->cap_strokes) return NULL;
        points += nx;
        out->stroke_offsets[++strokes] = points;
        p = skip_gap(p, spaced);
        if (*p == ',') {
            p++;
            continue;
        }
        *n_points = points;
        *n_strokes = strokes;
        return *p == ']' && points - out->n_points >= 2 ? p + 1 : NULL;
    }
}

static const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    return strokes(p, 0, out, n_points, n_strokes);
}

static const uint8_t *spaced_drawing(const uint8_t *p, uint8_t *text, qd_columns *out, int64_t *n_points,
                                     int64_t *n_strokes) {
    (void)text;
    return strokes(p, 1, out, n_points, n_strokes);
}

#define QD_SCAN qd_scan_portable
#include "scan_line.h"
