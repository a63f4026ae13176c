/* Deltas, their statistics, hashes and copies of columns. See qd.h. */
#include "qd.h"

#include <string.h>

static inline int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }

int qd_check(const qd_view *v) {
    const int64_t *so = v->stroke_offsets, *drawing = v->drawing_offsets;
    if (so[0] != 0 || drawing[0] != 0) return -1;
    if (drawing[v->n_drawings] != v->n_strokes || so[v->n_strokes] != v->n_points) return -1;
    int bad = 0;
    for (int64_t s = 0; s < v->n_strokes; s++) bad |= so[s + 1] <= so[s];
    for (int64_t i = 0; i < v->n_drawings; i++) bad |= drawing[i + 1] <= drawing[i];
    return bad ? -1 : 0;
}

void qd_take(const qd_view *v, const int64_t *rows, int64_t n, uint8_t *x, uint8_t *y, int64_t *stroke_offsets,
             int64_t *drawing_offsets) {
    int64_t points = 0, strokes = 0;
    stroke_offsets[0] = drawing_offsets[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = v->drawing_offsets[rows[i]], last = v->drawing_offsets[rows[i] + 1];
        const int64_t from = v->stroke_offsets[first], count = v->stroke_offsets[last] - from;
        memcpy(x + points, v->x + from, (size_t)count);
        memcpy(y + points, v->y + from, (size_t)count);
        for (int64_t s = first; s < last; s++)
            stroke_offsets[++strokes] = v->stroke_offsets[s + 1] - from + points;
        points += count;
        drawing_offsets[i + 1] = strokes;
    }
}

/* ---- hash: 8 bytes at a time through splitmix64's finalizer ---- */

static inline uint64_t mix(uint64_t h) {
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

static inline uint64_t load_word(const uint8_t *p) {
    uint64_t word = 0; /* little-endian everywhere */
    for (int i = 0; i < 8; i++) word |= (uint64_t)p[i] << (8 * i); /* compilers make it one load */
    return word;
}

/* p[0..n), the last word with zeros behind its bytes; n > 0. p[0..readable) may be read. */
static inline uint64_t hash_bytes(uint64_t h, const uint8_t *p, int64_t n, int64_t readable) {
    const uint64_t add = 0x9e3779b97f4a7c15u;
    for (; n > 8; p += 8, n -= 8, readable -= 8) h = mix(h + add + load_word(p));
    uint8_t copy[8] = {0};
    if (readable < 8) p = memcpy(copy, p, (size_t)n); /* most are not the last of their column */
    return mix(h + add + (load_word(p) & ~(uint64_t)0 >> (64 - 8 * n)));
}

void qd_hash(const qd_view *v, uint64_t *out) {
    for (int64_t i = 0; i < v->n_drawings; i++) {
        uint64_t h = 0;
        for (int64_t s = v->drawing_offsets[i]; s < v->drawing_offsets[i + 1]; s++) {
            const int64_t from = v->stroke_offsets[s], n = v->stroke_offsets[s + 1] - from;
            h = mix(h + (uint64_t)n); /* the lengths tell [a b][c] from [a][b c] */
            h = hash_bytes(h, v->x + from, n, v->n_points - from);
            h = hash_bytes(h, v->y + from, n, v->n_points - from);
        }
        out[i] = mix(h);
    }
}

/* ---- deltas ---- */

void qd_table_raw(qd_table *t) {
    for (int d = -255; d <= 255; d++) t->dx[d + 255] = t->dy[d + 255] = (float)d;
}

void qd_table_standard(qd_table *t, const double mean[2], const double std[2]) {
    for (int d = -255; d <= 255; d++) {
        t->dx[d + 255] = (float)((d - mean[0]) / std[0]);
        t->dy[d + 255] = (float)((d - mean[1]) / std[1]);
    }
}

/* The steps of drawing i to out; returns how many. DX and DY turn a difference into what is stored. */
#define STEPS(name, type, DX, DY)                                                                                   \
    static inline int64_t name(const qd_view *v, int64_t i, int64_t max_len, int blank_zero, const qd_table *table, \
                               type *out) {                                                                         \
        (void)table;                                                                                                \
        const int64_t first = v->drawing_offsets[i], last = v->drawing_offsets[i + 1];                              \
        const int64_t from = v->stroke_offsets[first];                                                              \
        const int64_t n = at_most(v->stroke_offsets[last] - from, max_len);                                         \
        const uint8_t *x = v->x + from, *y = v->y + from;                                                           \
        int px = 0, py = 0;                                                                                         \
        for (int64_t k = 0; k < n; k++) {                                                                           \
            const int dx = x[k] - px, dy = y[k] - py;                                                               \
            px = x[k], py = y[k];                                                                                   \
            const int keep = !blank_zero || dx != 0 || dy != 0;                                                     \
            out[3 * k] = keep ? DX : 0;                                                                             \
            out[3 * k + 1] = keep ? DY : 0;                                                                         \
            out[3 * k + 2] = 0;                                                                                     \
        }                                                                                                           \
        for (int64_t s = first; s < last; s++) {                                                                    \
            const int64_t k = v->stroke_offsets[s + 1] - from - 1;                                                  \
            if (k >= n) break;                                                                                      \
            const int zero = k ? x[k] == x[k - 1] && y[k] == y[k - 1] : x[0] == 0 && y[0] == 0;                     \
            out[3 * k + 2] = blank_zero && zero ? 0 : 1;                                                            \
        }                                                                                                           \
        return n;                                                                                                   \
    }
STEPS(steps_f32, float, table->dx[dx + 255], table->dy[dy + 255])
STEPS(steps_i16, int16_t, (int16_t)dx, (int16_t)dy)

/* Rows in random order miss the cache at every look-up: ask for what later rows need, one look-up each time. */
#if defined(__GNUC__)
__attribute__((always_inline)) /* GCC drops a call of a function that does nothing else */
#endif
static inline void prefetch(const qd_view *views, const int32_t *view_of, const int64_t *rows, int64_t n, int64_t i) {
#if defined(__GNUC__)
    enum { DRAWING = 24, STROKE = 16, POINTS = 8 };
    if (i + DRAWING < n) {
        const qd_view *v = view_of ? views + view_of[i + DRAWING] : views;
        __builtin_prefetch(v->drawing_offsets + rows[i + DRAWING]);
    }
    if (i + STROKE < n) {
        const qd_view *v = view_of ? views + view_of[i + STROKE] : views;
        __builtin_prefetch(v->stroke_offsets + v->drawing_offsets[rows[i + STROKE]]);
    }
    if (i + POINTS < n) {
        const qd_view *v = view_of ? views + view_of[i + POINTS] : views;
        const int64_t from = v->stroke_offsets[v->drawing_offsets[rows[i + POINTS]]];
        __builtin_prefetch(v->x + from), __builtin_prefetch(v->x + from + 64);
        __builtin_prefetch(v->y + from), __builtin_prefetch(v->y + from + 64);
    }
#endif
}

#define PADDED(steps, type)                                                                               \
    {                                                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                                 \
            if (rows) prefetch(views, view_of, rows, n, i);                                               \
            const qd_view *v = view_of ? views + view_of[i] : views;                                      \
            type *to = out + i * max_len * 3;                                                             \
            const int64_t k = steps(v, rows ? rows[i] : i, max_len, blank_zero, table, to);               \
            memset(to + 3 * k, 0, (size_t)(max_len - k) * 3 * sizeof(type));                              \
            lengths[i] = (int32_t)k;                                                                      \
        }                                                                                                 \
    }

void qd_deltas_f32(const qd_view *views, const int32_t *view_of, const int64_t *rows, int64_t n, int64_t max_len,
                   int blank_zero, const qd_table *table, float *out, int32_t *lengths)
    PADDED(steps_f32, float)

void qd_deltas_i16(const qd_view *views, const int32_t *view_of, const int64_t *rows, int64_t n, int64_t max_len,
                   int blank_zero, int16_t *out, int32_t *lengths) {
    const qd_table *const table = NULL;
    PADDED(steps_i16, int16_t)
}

void qd_ragged_f32(const qd_view *v, int64_t max_len, int blank_zero, const qd_table *table, const int64_t *offsets,
                   float *out) {
    for (int64_t i = 0; i < v->n_drawings; i++) steps_f32(v, i, max_len, blank_zero, table, out + 3 * offsets[i]);
}

void qd_ragged_i16(const qd_view *v, int64_t max_len, int blank_zero, const int64_t *offsets, int16_t *out) {
    for (int64_t i = 0; i < v->n_drawings; i++) steps_i16(v, i, max_len, blank_zero, NULL, out + 3 * offsets[i]);
}

/* The sum of (p[k] - p[k - 1])^2 over 0 < k < n. */
static int64_t squares(const uint8_t *p, int64_t n) {
    enum { CHUNK = 1 << 14 }; /* so many squares of at most 255^2 fit in 32 bits */
    int64_t total = 0;
    for (int64_t k = 1; k < n; k += CHUNK) {
        const int64_t end = at_most(k + CHUNK, n);
        int32_t sum = 0;
        for (int64_t j = k; j < end; j++) { /* vectorized by the compiler, with 16-bit products */
            const int16_t d = (int16_t)(p[j] - p[j - 1]);
            sum += d * d;
        }
        total += sum;
    }
    return total;
}

static inline int64_t square(int d) { return (int64_t)d * d; }

/* Adds the squares of the steps between the points [first, end). */
static void add_squares(const qd_view *v, int64_t first, int64_t end, qd_stats *out) {
    if (end <= first) return;
    out->sum_sq[0] += squares(v->x + first, end - first);
    out->sum_sq[1] += squares(v->y + first, end - first);
}

void qd_delta_stats(const qd_view *v, const int32_t *group, int64_t max_len, int blank_zero, qd_stats *out) {
    /* A run: the points [first, end) of consecutive drawings of one group, none of them cut. It is summed as if it were a
       single drawing, less the steps between its drawings. */
    int64_t first = 0, end = -1;
    qd_stats *s = out;
    for (int64_t i = 0; i < v->n_drawings; i++) {
        const int64_t from = v->stroke_offsets[v->drawing_offsets[i]];
        const int64_t n = at_most(v->stroke_offsets[v->drawing_offsets[i + 1]] - from, max_len);
        if (n == 0) continue;
        qd_stats *const mine = out + (group ? group[i] : 0);
        const uint8_t *x = v->x + from, *y = v->y + from;
        if (from == end && mine == s) {
            s->sum_sq[0] -= square(x[0] - x[-1]), s->sum_sq[1] -= square(y[0] - y[-1]);
        } else {
            add_squares(v, first, end, s);
            first = from, s = mine;
        }
        end = from + n;
        s->n += n;
        s->sum[0] += x[n - 1], s->sum[1] += y[n - 1]; /* the steps of a drawing lead from 0 to its last point */
        s->sum_sq[0] += square(x[0]), s->sum_sq[1] += square(y[0]);
        if (blank_zero) { /* they add nothing to the sums */
            s->n -= x[0] == 0 && y[0] == 0;
            for (int64_t k = 1; k < n; k++) s->n -= x[k] == x[k - 1] && y[k] == y[k - 1];
        }
    }
    add_squares(v, first, end, s);
}
