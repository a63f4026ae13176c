/* libFuzzer target: raw lines, on buffers of exactly the size that qd.h promises. Every double is the one that strtod
   gives, and the columns are those that qd_simplify makes of them. AddressSanitizer sees a byte read or written too far. */
#include "../../benchmarks/columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *room(size_t bytes) { /* exact, so that the byte behind it is poisoned */
    void *p = malloc(bytes ? bytes : 1);
    if (!p) abort();
    memset(p, 0xa5, bytes);
    return p;
}

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

/* The next number of the text, by strtod. */
static double next_number(const uint8_t **p) {
    while (!((**p >= '0' && **p <= '9') || **p == '-')) (*p)++;
    char *end;
    const double v = strtod((const char *)*p, &end);
    *p = (const uint8_t *)end;
    return v;
}

static void check_doubles(const uint8_t *p, const double *x, const double *y, const int64_t *offsets, int64_t strokes) {
    for (int64_t s = 0; s < strokes; s++) {
        const int64_t from = offsets[s], n = offsets[s + 1] - from;
        if (n < 1) fail("a stroke without points");
        for (int axis = 0; axis < 2; axis++)
            for (int64_t i = 0; i < n; i++) {
                const double expected = next_number(&p);
                if (memcmp(&expected, (axis ? y : x) + from + i, 8)) fail("not the double that strtod gives");
            }
        while (*p != ']') p++;
        for (p++; *p != ',' && *p != ']'; p++) {}
        if (*p == ',')
            for (int64_t i = 0; i < n; i++) next_number(&p);
    }
}

/* A raw drawing to doubles. */
static void read_strokes(const uint8_t *data, size_t len) {
    const int64_t points = (int64_t)qd_max_raw_points(len), strokes = (int64_t)qd_max_strokes(len);
    double *x = room(8 * (size_t)points), *y = room(8 * (size_t)points);
    int64_t *offsets = room(8 * (size_t)(strokes + 1)), n = 0;
    const uint8_t *end = qd_raw_strokes(data, x, y, points, offsets, strokes, &n);
    if (end) {
        if (end > data + len || n < 1 || n > strokes || offsets[n] > points) fail("too many");
        check_doubles(data, x, y, offsets, n);
    }
    free(x), free(y), free(offsets);
}

/* Raw lines to drawings. */
static void scan(const uint8_t *data, size_t len, int keep_any, size_t share) {
    columns k = make_columns(2 * len, share, room);
    size_t pos = 0;
    qd_tally tally = {0};
    k.c.raw = room(qd_raw_scratch(len)), k.c.raw_len = len;
    while (qd_scan_raw(data, len, &pos, keep_any, &k.c, &k.w, &tally) == QD_UNCERTAIN)
        pos = (size_t)((const uint8_t *)memchr(data + pos, '\n', len - pos) - data) + 1;
    if (pos != len) abort();
    const qd_view v = {k.c.x, k.c.y, k.c.stroke_offsets, k.c.drawing_offsets, k.c.n_points, k.c.n_strokes, k.c.n_drawings};
    if (qd_check(&v)) fail("invalid columns");
    free(k.c.x), free(k.c.y), free(k.c.stroke_offsets), free(k.c.drawing_offsets), free(k.c.key_id), free(k.c.timestamp);
    free(k.c.word), free(k.c.recognized), free(k.c.countrycode), free(k.c.text), free(k.c.raw);
    free(k.w.bytes), free(k.w.offsets), free(k.w.slots);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size == 0) return 0;
    /* The first byte chooses; the rest is ndjson, with a newline at its end. */
    uint8_t *data = room(size + QD_PADDING);
    memcpy(data, input + 1, size - 1);
    data[size - 1] = '\n';
    memset(data + size, '1', QD_PADDING); /* digits: who reads on finds a number */
    scan(data, size, input[0] & 1, input[0] & 2 ? 1 + (input[0] >> 4) : 1);
    for (const uint8_t *p = data; (p = memchr(p, '[', (size_t)(data + size - p))); p++) {
        read_strokes(p, (size_t)((const uint8_t *)memchr(p, '\n', (size_t)(data + size - p)) - p) + 1);
        while (p[1] == '[') p++;
    }
    free(data);
    return 0;
}
