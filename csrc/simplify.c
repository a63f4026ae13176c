/* Raw strokes to the simplified form. See qd.h.

   Between two points of a stroke all samples lie on a line, a pixel apart. So the sample farthest from a chord is the
   first or the last of its line, unless the line is parallel to the chord: then rounding errors decide between all of
   them, as they did for Google. Only there are the samples inside a line looked at, and none is stored. */
#include "qd.h"

#include <float.h>
#include <math.h>

#define EPSILON 2.0 /* pixels */
#define DOUBT 1e-6  /* pixels: far above any rounding error here, far below the distance of two samples */

/* A stroke of n points, scaled: line i leads from point i - 1 to point i. */
typedef struct {
    double *x, *y;
    double *length; /* of line i */
    double *arc;    /* length of the stroke up to point i */
    /* The ends: first and last sample of each line that has any. */
    double *end_x, *end_y, *distance;
    int64_t *end_sample, *end_line;
    int64_t n_ends;
} stroke;

/* Where the stroke is cut; of the ends, those below `at` lie before it, those from `next` on behind it. */
typedef struct {
    double x, y;
    int64_t at, next;
} cut;

enum { DOUBLES = 4 + 2 * 3, INTS = 2 * 2, CUTS = QD_SIMPLIFIED }; /* per point of a stroke */

size_t qd_simplify_scratch(int64_t longest) {
    return (size_t)longest * (DOUBLES * sizeof(double) + INTS * sizeof(int64_t) + CUTS * sizeof(cut));
}

/* ---- samples ---- */

/* Sample m of line i: the point at arc length m. Rounded as Google's are: a + t (b - a) is something else. */
static inline void place(const stroke *s, int64_t i, int64_t m, double *x, double *y) {
    const double t = ((double)m - s->arc[i - 1]) / s->length[i];
    *x = (1 - t) * s->x[i - 1] + t * s->x[i];
    *y = (1 - t) * s->y[i - 1] + t * s->y[i];
}

static inline void add_end(stroke *s, int64_t line, int64_t sample) {
    const int64_t e = s->n_ends++;
    place(s, line, sample, s->end_x + e, s->end_y + e);
    s->end_sample[e] = sample, s->end_line[e] = line;
}

static void sample(stroke *s, int64_t n) {
    int64_t taken = 0; /* the last sample so far: number 0 is the first point */
    s->arc[0] = 0, s->n_ends = 0;
    for (int64_t i = 1; i < n; i++) {
        const double dx = s->x[i] - s->x[i - 1], dy = s->y[i] - s->y[i - 1];
        s->length[i] = sqrt(dx * dx + dy * dy);
        s->arc[i] = s->arc[i - 1] + s->length[i];
        const int64_t last = (int64_t)s->arc[i];
        if (last > taken) add_end(s, i, taken + 1);
        if (last > taken + 1) add_end(s, i, last);
        taken = last;
    }
}

/* ---- Ramer-Douglas-Peucker ---- */

typedef struct {
    double x, y, dx, dy, length; /* from (x, y) by (dx, dy); of length 0 where a stroke comes back to a cut */
} chord;

/* The sum is rounded once, not twice: so say ties in Google's files. */
static chord between(const cut *a, const cut *b) {
    const double dx = b->x - a->x, dy = b->y - a->y;
    return (chord){a->x, a->y, dx, dy, sqrt(fma(dx, dx, dy * dy))};
}

static inline double off_line(const chord *c, double x, double y) {
    return fabs(c->dx * (c->y - y) - c->dy * (c->x - x)); /* times the chord's length */
}

static inline double off_point(const chord *c, double x, double y) {
    const double dx = x - c->x, dy = y - c->y;
    return sqrt(dx * dx + dy * dy);
}

static inline double distance(const chord *c, double x, double y) {
    return c->length > 0 ? off_line(c, x, y) / c->length : off_point(c, x, y);
}

/* The distances of the ends [from, to), not yet divided by the chord's length; returns the largest. */
static double measure(const stroke *s, const chord *c, int64_t from, int64_t to) {
    enum { LANES = 4 };
    const chord k = *c;
    double largest[LANES] = {0};
    int64_t e = from;
    if (k.length > 0) {
        for (; e + LANES <= to; e += LANES)
            for (int lane = 0; lane < LANES; lane++) {
                const double d = off_line(&k, s->end_x[e + lane], s->end_y[e + lane]);
                s->distance[e + lane] = d;
                largest[lane] = d > largest[lane] ? d : largest[lane];
            }
    }
    for (; e < to; e++) {
        const double x = s->end_x[e], y = s->end_y[e];
        const double d = k.length > 0 ? off_line(&k, x, y) : off_point(&k, x, y);
        s->distance[e] = d;
        largest[0] = d > largest[0] ? d : largest[0];
    }
    for (int lane = 1; lane < LANES; lane++) largest[0] = largest[lane] > largest[0] ? largest[lane] : largest[0];
    return largest[0];
}

/* Where to cut between a and b: at the first sample of those farthest from the chord. 0: nowhere. */
static int split(const stroke *s, const cut *a, const cut *b, cut *at) {
    if (a->next >= b->at) return 0;
    const chord c = between(a, b);
    const double unit = c.length > 0 ? c.length : 1, largest = measure(s, &c, a->next, b->at);
    if (largest <= (EPSILON - DOUBT) * unit) return 0;
    const double near = largest - DOUBT * unit;
    double farthest = EPSILON;
    for (int64_t e = a->next; e < b->at; e++) {
        if (s->distance[e] < near) continue;
        const int64_t m = s->end_sample[e];
        const int parallel = e + 1 < b->at && s->end_line[e + 1] == s->end_line[e] && s->distance[e + 1] >= near;
        const int64_t inside = parallel ? s->end_sample[e + 1] - m : 1;
        for (int64_t k = 0; k < inside; k++) {
            double x = s->end_x[e], y = s->end_y[e];
            if (k) place(s, s->end_line[e], m + k, &x, &y);
            const double d = distance(&c, x, y);
            if (d > farthest) farthest = d, *at = (cut){x, y, k ? e + 1 : e, e + 1};
        }
    }
    return farthest > EPSILON;
}

/* ---- drawings ---- */

static inline uint8_t rounded(double v) { return (uint8_t)lrint(v); } /* half to even */

/* Simplify a stroke of n scaled points; returns how many it has then. */
static int64_t simplify(stroke *s, int64_t n, cut *stack, uint8_t *x, uint8_t *y) {
    sample(s, n);
    cut from = {s->x[0], s->y[0], 0, 0};
    int64_t out = 0, depth = 1;
    stack[0] = (cut){s->x[n - 1], s->y[n - 1], s->n_ends, s->n_ends};
    x[out] = rounded(from.x), y[out++] = rounded(from.y);
    while (depth) {
        if (split(s, &from, stack + depth - 1, stack + depth)) {
            depth++;
            continue;
        }
        from = stack[--depth];
        x[out] = rounded(from.x), y[out++] = rounded(from.y);
    }
    return out;
}

/* From a drawing's units to pixels, in Google's order: (v * unit - low) * 255 / range, v * unit being exact. */
typedef struct {
    double unit, left, top, range;
} frame;

/* The smallest and largest of v[0..n); 0 if one of them is not finite. */
static int bounds(const double *v, int64_t n, double *low, double *high) {
    int finite = 1;
    *low = *high = v[0];
    for (int64_t i = 0; i < n; i++) {
        finite &= fabs(v[i]) <= DBL_MAX;
        *low = v[i] < *low ? v[i] : *low;
        *high = v[i] > *high ? v[i] : *high;
    }
    return finite;
}

/* 0 if a coordinate is not finite. */
static int frame_of(const double *x, const double *y, int64_t n, frame *f) {
    double right, bottom;
    if (!bounds(x, n, &f->left, &right) || !bounds(y, n, &f->top, &bottom)) return 0;
    f->unit = fmax(right - f->left, bottom - f->top) < 0x1p1000 ? 1 : 0x1p-16; /* 255 times it must not overflow */
    f->left *= f->unit, f->top *= f->unit;
    f->range = fmax(right * f->unit - f->left, bottom * f->unit - f->top);
    if (f->range == 0) f->range = 1; /* all points are one, and become (0, 0) */
    return 1;
}

int64_t qd_simplify(const qd_raw *raw, void *scratch, int64_t longest, uint8_t *x, uint8_t *y,
                    int64_t *stroke_offsets) {
    double *d = scratch;
    int64_t *e = (int64_t *)(d + DOUBLES * longest);
    cut *stack = (cut *)(e + INTS * longest);
    stroke s = {.x = d, .y = d + longest, .length = d + 2 * longest, .arc = d + 3 * longest,
                .end_x = d + 4 * longest, .end_y = d + 6 * longest, .distance = d + 8 * longest,
                .end_sample = e, .end_line = e + 2 * longest};
    int64_t points = 0;
    stroke_offsets[0] = 0;
    for (int64_t i = 0; i < raw->n_drawings; i++) {
        const int64_t first = raw->drawing_offsets[i], last = raw->drawing_offsets[i + 1];
        const int64_t from = raw->stroke_offsets[first];
        frame f;
        if (!frame_of(raw->x + from, raw->y + from, raw->stroke_offsets[last] - from, &f)) return i;
        for (int64_t k = first; k < last; k++) {
            const double *raw_x = raw->x + raw->stroke_offsets[k], *raw_y = raw->y + raw->stroke_offsets[k];
            const int64_t n = raw->stroke_offsets[k + 1] - raw->stroke_offsets[k];
            for (int64_t p = 0; p < n; p++) {
                s.x[p] = (raw_x[p] * f.unit - f.left) * 255 / f.range;
                s.y[p] = (raw_y[p] * f.unit - f.top) * 255 / f.range;
            }
            points += simplify(&s, n, stack, x + points, y + points);
            stroke_offsets[k + 1] = points;
        }
    }
    return raw->n_drawings;
}
