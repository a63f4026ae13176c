/* The line scanner for raw drawings: their strokes become doubles in scratch memory, and are simplified at once. See qd.h. */
#include "scan_decimal.h"

size_t qd_max_raw_points(size_t len) { return len / 4 + 1; } /* "0," of x and of y */

enum { LONGEST = 1 << 16 }; /* points of a stroke; orjson reads longer ones */

static int64_t longest(int64_t points) { return points < LONGEST ? points : LONGEST; }

size_t qd_raw_scratch(size_t len) {
    const size_t points = qd_max_raw_points(len);
    return 16 * points + 8 * (qd_max_strokes(len) + 1) + qd_simplify_scratch(longest((int64_t)points));
}

#if QD_DECIMALS

/* n,n,...]: at least one, at most `cap` numbers to out. */
static inline const uint8_t *numbers(const uint8_t *p, double *out, int64_t cap, int64_t *n) {
    for (int64_t i = 0;;) {
        if (i == cap || !(p = decimal(skip_blanks(p), out + i))) return NULL;
        i++;
        p = skip_blanks(p);
        if (*p == ',')
            p++;
        else {
            *n = i;
            return *p == ']' ? p + 1 : NULL;
        }
    }
}

/* As many numbers of which only the form matters. */
static inline const uint8_t *times(const uint8_t *p, int64_t n) {
    while (n-- > 0) {
        double time;
        uint64_t w = 0;
        const uint8_t *const end = digits(p, &w); /* nearly all are integers */
        if (end > p && end - p < 8 && (*end == ',' || *end == ']') && (*p != '0' || end == p + 1))
            p = end;
        else if (!(p = decimal(skip_blanks(p), &time)))
            return NULL;
        p = skip_blanks(p);
        if (*p++ != (n ? ',' : ']')) return NULL;
    }
    return p;
}

/* '[' and, behind white space, the byte behind it. */
static inline const uint8_t *open_list(const uint8_t *p) {
    p = skip_blanks(p);
    return *p == '[' ? p + 1 : NULL;
}

const uint8_t *qd_raw_strokes(const uint8_t *p, double *x, double *y, int64_t cap_points, int64_t *stroke_offsets,
                              int64_t cap_strokes, int64_t *n_strokes) {
    int64_t points = 0, strokes = 0;
    stroke_offsets[0] = 0;
    if (!(p = open_list(p))) return NULL;
    for (;;) {
        int64_t nx, ny;
        if (strokes == cap_strokes || !(p = open_list(p)) || !(p = open_list(p))) return NULL;
        if (!(p = numbers(p, x + points, cap_points - points, &nx))) return NULL;
        p = skip_blanks(p);
        if (*p != ',' || !(p = open_list(p + 1))) return NULL;
        if (!(p = numbers(p, y + points, nx, &ny)) || ny != nx) return NULL;
        p = skip_blanks(p);
        if (*p == ',') {
            if (!(p = open_list(p + 1)) || !(p = times(p, nx))) return NULL;
            p = skip_blanks(p);
        }
        if (*p != ']') return NULL;
        points += nx;
        stroke_offsets[++strokes] = points;
        p = skip_blanks(p + 1);
        if (*p != ',') break;
        p++;
    }
    *n_strokes = strokes;
    return *p == ']' ? p + 1 : NULL;
}

static const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    const int64_t cap_points = (int64_t)qd_max_raw_points(out->raw_len), cap_strokes = (int64_t)qd_max_strokes(out->raw_len);
    double *const x = out->raw, *const y = x + cap_points;
    int64_t *const offsets = (int64_t *)(y + cap_points), drawing_offsets[2] = {0, 0};
    const int64_t done = out->n_points, strokes = out->n_strokes;
    if (!(p = qd_raw_strokes(p, x, y, cap_points, offsets, cap_strokes, drawing_offsets + 1))) return NULL;
    const int64_t n = drawing_offsets[1], points = offsets[n];
    int64_t most = 0;
    for (int64_t s = 0; s < n; s++) most = offsets[s + 1] - offsets[s] > most ? offsets[s + 1] - offsets[s] : most;
    if (QD_SIMPLIFIED * points > out->cap_points - done || n > out->cap_strokes - strokes || most > longest(cap_points))
        return NULL;
    const qd_raw raw = {x, y, offsets, drawing_offsets, points, n, 1};
    int64_t *const stroke_offsets = out->stroke_offsets + strokes;
    qd_simplify(&raw, offsets + cap_strokes + 1, most, out->x + done, out->y + done, stroke_offsets);
    for (int64_t s = 0; s <= n; s++) stroke_offsets[s] += done;
    *n_points = stroke_offsets[n];
    *n_strokes = strokes + n;
    return p;
}

#else /* no 128-bit integers: all to orjson */

const uint8_t *qd_raw_strokes(const uint8_t *p, double *x, double *y, int64_t cap_points, int64_t *stroke_offsets,
                              int64_t cap_strokes, int64_t *n_strokes) {
    (void)p, (void)x, (void)y, (void)cap_points, (void)stroke_offsets, (void)cap_strokes, (void)n_strokes;
    return NULL;
}

static const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    (void)p, (void)out, (void)n_points, (void)n_strokes;
    return NULL;
}

#endif

static inline const uint8_t *spaced_drawing(const uint8_t *p, uint8_t *text, qd_columns *out, int64_t *n_points,
                                            int64_t *n_strokes) {
    (void)text;
    return drawing(p, out, n_points, n_strokes);
}

#define QD_SCAN qd_scan_raw
#include "scan_line.h"
