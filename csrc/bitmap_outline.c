/* The outline of a stroke with round caps and joins, as cairo's stroker makes it. See bitmap.h. */
#include "bitmap.h"

#include <math.h>

typedef struct {
    int32_t x, y;
} point;

static inline point add(point a, point b) { return (point){a.x + b.x, a.y + b.y}; }
static inline point subtract(point a, point b) { return (point){a.x - b.x, a.y - b.y}; }
static inline point minus(point a) { return (point){-a.x, -a.y}; }
static inline int same(point a, point b) { return a.x == b.x && a.y == b.y; }

/* Half the line's width: 256 * 8 * 28 / 304. */
#define RADIUS (3584.0 / 19)

#define PEN 12
/* The round pen: a polygon with as many corners as keep it within cairo's tolerance of 0.1 pixels. */
static const point pen[PEN] = {{189, 0},  {163, 94},   {94, 163},   {0, 189},  {-94, 163}, {-163, 94},
                               {-189, 0}, {-163, -94}, {-94, -163}, {0, -189}, {94, -163}, {163, -94}};

static inline int wrapped(int i) { return i < 0 ? i + PEN : i >= PEN ? i - PEN : i; }

/* The pen's edge that ends at corner i. */
static inline point pen_edge(int i) { return subtract(pen[wrapped(i)], pen[wrapped(wrapped(i) - 1)]); }

/* -1 if b is reached from a by growing the angle (clockwise, for y grows downwards) by less than half a turn, 1 if by
   shrinking it. Of opposite directions, the one to the right or straight down comes first. */
static inline int turn(point a, point b) {
    const int64_t c = (int64_t)a.y * b.x - (int64_t)b.y * a.x;
    if (c) return c < 0 ? -1 : 1;
    if ((a.x ^ b.x) < 0 || (a.y ^ b.y) < 0) return a.x > 0 || (a.x == 0 && a.y > 0) ? -1 : 1;
    return 0;
}

/* A straight part of the stroke. */
typedef struct {
    point along, side; /* from its beginning to its end; from its middle to its left side */
    int corner, exact; /* of the pen: its edges to corner and corner + 1 enclose the direction; it is that of an edge */
} segment;

/* Of the 982,080 directions that a segment can have, none brings a side within 2e-6 of the middle of two integers. */
static inline int32_t rounded(double v) { return (int32_t)(v < 0 ? v - 0.5 : v + 0.5); }

static inline segment segment_of(point along) {
    const double scale = RADIUS / sqrt((double)along.x * along.x + (double)along.y * along.y);
    segment s = {along, {rounded(-along.y * scale), rounded(along.x * scale)}, 0, 0};
    /* turned by half a turn, and by a quarter, until it goes right and down */
    const int back = along.y < 0 || (along.y == 0 && along.x < 0);
    int32_t x = back ? -along.x : along.x, y = back ? -along.y : along.y;
    const int left = x <= 0;
    const int32_t t = x;
    x = left ? y : x, y = left ? -t : y;
    const int32_t low = 94 * y - 26 * x, middle = y - x, high = 26 * y - 94 * x;
    s.corner = wrapped(6 * back + 3 * left + (low >= 0) + (middle >= 0) + (high >= 0) - 3);
    s.exact = (low == 0) | (middle == 0) | (high == 0);
    return s;
}

static inline segment reversed(segment s) {
    return (segment){minus(s.along), minus(s.side), wrapped(s.corner - PEN / 2), s.exact};
}

static inline void draw(chain *c, point to) { c->x[c->n] = to.x, c->y[c->n++] = to.y; }

/* The corners of the pen between two directions: *first and how many, from there clockwise or counterclockwise. In
   general, the corners between the two edges that enclose them; counterclockwise, with those edges' own corners. */
static inline int corners(const segment *in, const segment *out, int clockwise, int *first) {
    const int from = wrapped(in->corner + 1), cw = wrapped(out->corner - from), ccw = wrapped(in->corner - out->corner);
    *first = clockwise ? from : wrapped(in->corner - PEN / 2);
    return clockwise ? (cw == PEN - 1 ? 0 : cw) : ccw + (ccw != 0);
}

/* The same by cairo's search, whose comparisons decide where a direction is that of an edge. */
static int searched_corners(point in, point out, int clockwise, int *first) {
    int low = 0, high = PEN, i = PEN / 2;
    for (; high - low > 1; i = (low + high) / 2)
        if (clockwise ? turn(pen_edge(i), in) < 0 : turn(in, pen_edge(i + 1)) < 0)
            low = i;
        else
            high = i;
    if (clockwise ? turn(pen_edge(i), in) < 0 : turn(in, pen_edge(i + 1)) < 0) i = wrapped(i + 1);
    *first = i;
    if (clockwise ? turn(out, pen_edge(i + 1)) < 0 : turn(pen_edge(i), out) > 0) return 0;
    low = i, high = i + PEN;
    while (high - low > 1) {
        i = (low + high) / 2;
        if (clockwise ? turn(pen_edge(i), out) > 0 : turn(out, pen_edge(i + 1)) > 0)
            high = i;
        else
            low = i;
    }
    return wrapped(clockwise ? low - *first : *first + PEN - low);
}

static inline void fan(chain *c, point at, const segment *in, const segment *out, int clockwise) {
    int i, n = in->exact | out->exact ? searched_corners(in->along, out->along, clockwise, &i)
                                      : corners(in, out, clockwise, &i);
    const int step = clockwise ? 1 : -1, end = c->n + n;
    draw(c, add(at, pen[i])); /* there is room for two, and most fans have no more: so no branch depends on n */
    draw(c, add(at, pen[i = wrapped(i + step)]));
    while (c->n < end) draw(c, add(at, pen[i = wrapped(i + step)]));
    c->n = end;
}

/* Around the end of a line, from its left side to its right. */
static void cap(chain *c, point at, segment end) {
    const segment back = reversed(end);
    fan(c, at, &end, &back, 0);
    draw(c, subtract(at, end.side));
}

static inline void join(outline *o, point at, const segment *in, const segment *out) {
    const int turned = turn(in->along, out->along), clockwise = turned < 0;
    chain *const outer = clockwise ? &o->right : &o->left, *const inner = clockwise ? &o->left : &o->right;
    const point side = clockwise ? minus(out->side) : out->side;
    if (turned == 0) return;
    if (!same(in->side, out->side)) {
        fan(outer, at, in, out, clockwise);
        draw(outer, add(at, side));
    }
    draw(inner, at);
    draw(inner, subtract(at, side));
}

void qd_outline(const int32_t *x, const int32_t *y, int64_t n, outline *o) {
    const point begin = {x[0], y[0]};
    point at = begin;
    segment last = {{0, 0}, {0, 0}, 0, 0}, first = last;
    o->left.n = o->right.n = 0;
    for (int64_t k = 1; k < n;) {
        point to = {x[k], y[k]}, along = subtract(to, at);
        k++;
        if (same(at, to)) continue;
        for (; k < n; k++) { /* on, as long as it goes straight on */
            const point step = {x[k] - to.x, y[k] - to.y};
            if ((int64_t)along.y * step.x != (int64_t)step.y * along.x) break;
            if ((int64_t)along.x * step.x + (int64_t)along.y * step.y < 0) break;
            to = add(to, step);
            along = subtract(to, at);
        }
        const segment next = segment_of(along);
        if (o->right.n)
            join(o, at, &last, &next);
        else {
            first = next;
            draw(&o->right, subtract(at, next.side));
            draw(&o->left, add(at, next.side));
        }
        draw(&o->right, subtract(to, next.side));
        draw(&o->left, add(to, next.side));
        at = to, last = next;
    }
    o->gap = -1;
    if (o->right.n) {
        cap(&o->left, at, last);
        o->gap = o->left.n - 1;
        draw(&o->left, subtract(begin, first.side));
        cap(&o->left, begin, reversed(first));
    } else { /* a dot is a line to the right, of no length */
        const segment right = segment_of((point){256, 0});
        cap(&o->left, at, reversed(right));
        cap(&o->left, at, right);
        draw(&o->left, (point){o->left.x[0], o->left.y[0]});
        draw(&o->right, at);
    }
}
