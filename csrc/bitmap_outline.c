/* The outline of a stroke with round caps and joins, as cairo's stroker makes it. See bitmap.h. */
#include "bitmap.h"

#include <math.h>
#include <string.h>

typedef struct {
    int32_t x, y;
} point;

static inline point add(point a, point b) { return (point){a.x + b.x, a.y + b.y}; }
static inline point subtract(point a, point b) { return (point){a.x - b.x, a.y - b.y}; }
static inline point minus(point a) { return (point){-a.x, -a.y}; }
static inline int same(point a, point b) { return a.x == b.x && a.y == b.y; }

/* 256 (v / 2 + 24) * 28 / 304, rounded; it is never half way between two integers. */
static inline int32_t fixed(int32_t v) { return ((v + 48) * 448 + 19) / 38; }

/* Half the line's width: 256 * 8 * 28 / 304. */
#define RADIUS (3584.0 / 19)

/* The round pen: a polygon, as many corners as keep it within cairo's tolerance of 0.1 pixels. */
static const point pen[PEN] = {{189, 0},  {163, 94},   {94, 163},   {0, 189},  {-94, 163}, {-163, 94},
                               {-189, 0}, {-163, -94}, {-94, -163}, {0, -189}, {94, -163}, {163, -94}};

static inline point pen_edge(int i) { return subtract(pen[i % PEN], pen[(i + PEN - 1) % PEN]); } /* to corner i */

/* Negative if a turns into b with growing angle (which is clockwise, y grows downwards), positive if b into a. Of two
   opposite directions, the one to the right (or straight down) comes first. */
static inline int turn(point a, point b) {
    const int64_t c = (int64_t)a.y * b.x - (int64_t)b.y * a.x;
    if (c) return c < 0 ? -1 : 1;
    if ((a.x ^ b.x) < 0 || (a.y ^ b.y) < 0) return a.x > 0 || (a.x == 0 && a.y > 0) ? -1 : 1;
    return 0;
}

/* One side of the outline, drawn from point to point. */
typedef struct {
    edge *next;
    point first, last;
    int dir, begun;
} contour;

typedef struct {
    contour ccw, cw;
    int32_t min_x, max_x;
} stroker;

static inline int32_t subrow_of(int32_t y) { return (SUBROWS * y + 128) >> 8; }

static void draw(stroker *s, contour *c, point to) {
    const point from = c->last;
    c->last = to;
    if (!c->begun) {
        c->first = to;
        c->begun = 1;
        return;
    }
    if (from.y == to.y) return;
    const int down = to.y > from.y;
    const point a = down ? from : to, b = down ? to : from;
    s->min_x = a.x < s->min_x ? a.x : s->min_x;
    s->min_x = b.x < s->min_x ? b.x : s->min_x;
    s->max_x = a.x > s->max_x ? a.x : s->max_x;
    s->max_x = b.x > s->max_x ? b.x : s->max_x;
    const int32_t top = subrow_of(a.y), bottom = subrow_of(b.y);
    if (top == bottom) return;
    *c->next++ = (edge){a.x, a.y, b.x - a.x, b.y - a.y, (int16_t)top, (int16_t)bottom, (int16_t)(down ? c->dir : -c->dir)};
}

/* The corners of the pen, put on `at`, from direction `in` to direction `out`. */
static void fan(stroker *s, contour *c, point in, point out, point at, int clockwise) {
    int low = 0, high = PEN, start, i;
    while (high - low > 1) {
        i = (low + high) / 2;
        if (clockwise ? turn(pen_edge(i), in) < 0 : turn(in, pen_edge(i + 1)) < 0)
            low = i;
        else
            high = i;
    }
    i = low;
    if (clockwise ? turn(pen_edge(i), in) < 0 : turn(in, pen_edge(i + 1)) < 0) i = (i + 1) % PEN;
    start = i;
    if (clockwise ? turn(out, pen_edge(i + 1)) >= 0 : turn(pen_edge(i), out) <= 0) {
        low = i, high = i + PEN;
        while (high - low > 1) {
            i = (low + high) / 2;
            if (clockwise ? turn(pen_edge(i), out) > 0 : turn(out, pen_edge(i + 1)) > 0)
                high = i;
            else
                low = i;
        }
        i = low % PEN;
    }
    for (int k = start; k != i; k = (k + (clockwise ? 1 : PEN - 1)) % PEN) draw(s, c, add(at, pen[k]));
}

static inline int32_t rounded(double v) { return (int32_t)(v < 0 ? v - 0.5 : v + 0.5); }

/* From the middle of the line to its left side, for a line in this direction. */
static inline point half_width(point along) {
    const double length = sqrt((double)along.x * along.x + (double)along.y * along.y);
    return (point){rounded(-along.y * RADIUS / length), rounded(along.x * RADIUS / length)};
}

static void cap(stroker *s, contour *c, point at, point along, point side) {
    fan(s, c, along, minus(along), at, 0);
    draw(s, c, subtract(at, side));
}

static void dot(stroker *s, point at) {
    const point along = {256, 0}, side = half_width(along);
    contour *c = &s->ccw;
    cap(s, c, at, minus(along), minus(side));
    cap(s, c, at, along, side);
    draw(s, c, c->first);
}

void qd_outline(const int32_t *v, const int32_t *w, int64_t n, outline *out) {
    edge *const other = out->edges + MAX_EDGES(n);
    stroker s = {{out->edges, {0, 0}, {0, 0}, -1, 0}, {other, {0, 0}, {0, 0}, 1, 0}, INT32_MAX, INT32_MIN};
    point at = {fixed(v[0]), fixed(w[0])}, along = {0, 0}, side = {0, 0}, first = at, first_along = along, first_side = side;
    int drawn = 0;
    for (int64_t k = 1; k < n;) {
        point to = {fixed(v[k]), fixed(w[k])};
        k++;
        if (same(at, to)) continue;
        point next = subtract(to, at);
        /* points on a straight line are left out */
        while (k < n) {
            const point further = {fixed(v[k]), fixed(w[k])}, step = subtract(further, to);
            const int64_t cross = (int64_t)next.y * step.x - (int64_t)step.y * next.x;
            const int64_t forward = (int64_t)next.x * step.x + (int64_t)next.y * step.y;
            if (cross || forward < 0) break;
            to = further, next = subtract(to, at);
            k++;
        }
        const point side_next = half_width(next);
        if (!drawn) {
            first_along = next, first_side = side_next, drawn = 1;
            draw(&s, &s.cw, subtract(at, side_next));
            draw(&s, &s.ccw, add(at, side_next));
        } else {
            const int turned = turn(along, next);
            contour *outer = turned < 0 ? &s.cw : &s.ccw, *inner = turned < 0 ? &s.ccw : &s.cw;
            const int sign = turned < 0 ? -1 : 1;
            if (turned) {
                if (!same(side, side_next)) {
                    fan(&s, outer, along, next, at, turned < 0);
                    draw(&s, outer, sign < 0 ? subtract(at, side_next) : add(at, side_next));
                }
                draw(&s, inner, at);
                draw(&s, inner, sign < 0 ? add(at, side_next) : subtract(at, side_next));
            }
        }
        draw(&s, &s.cw, subtract(to, side_next));
        draw(&s, &s.ccw, add(to, side_next));
        at = to, along = next, side = side_next;
    }
    if (drawn) {
        cap(&s, &s.ccw, at, along, side);
        s.ccw.last = subtract(first, first_side);
        cap(&s, &s.ccw, first, minus(first_along), minus(first_side));
    } else
        dot(&s, at);
    out->n = s.ccw.next - out->edges;
    memcpy(s.ccw.next, other, (size_t)(s.cw.next - other) * sizeof(edge));
    out->n += s.cw.next - other;
    out->left = s.min_x >> 8;
    out->right = (s.max_x + 255) >> 8;
}
