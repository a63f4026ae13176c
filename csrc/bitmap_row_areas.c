/* A row of pixels that edges cross from top to bottom, by areas. See bitmap.h. */
#include "bitmap.h"

typedef struct {
    int64_t quotient, remainder;
} ratio;

static inline ratio floored(ratio r, int64_t divisor) {
    if (r.remainder < 0) return (ratio){r.quotient - 1, r.remainder + divisor};
    if (r.remainder >= divisor) return (ratio){r.quotient + 1, r.remainder - divisor};
    return r;
}

static inline ratio divide(int64_t a, int64_t b) { return floored((ratio){a / b, a % b}, b); }

/* A line's x in units of 1 / dy, and how much of that from a subrow to the next. */
typedef struct {
    int64_t dy, half_quotient, half_remainder;
} slope;

/* Where an edge is at the top of a row: half a step above its first subrow's middle, the step halved in integers. */
static inline ratio at_top(const edge *e, const slope *s, int32_t row) {
    ratio x = divide(((int64_t)(2 * SUBROWS * row + 1) * 256 - 30 * (int64_t)e->y) * e->dx * 256, s->dy);
    return floored((ratio){e->x + x.quotient - s->half_quotient, x.remainder - s->half_remainder}, s->dy);
}

static void cover_edge(coverage *c, const edge *e, int32_t row, int sign) {
    if (e->dx == 0) {
        qd_cover(c, e->x >> 8, sign * SUBROWS, sign * 2 * (e->x & 255) * SUBROWS);
        return;
    }
    const int64_t dy = (int64_t)e->dy * SUBROWS * 512, dx_step = (int64_t)e->dx * 256 * 512;
    const slope s = {dy, dx_step / dy / 2, dx_step % dy / 2};
    ratio a = at_top(e, &s, row), b = at_top(e, &s, row + 1);
    if (b.quotient >> 8 < a.quotient >> 8) {
        const ratio t = a;
        a = b, b = t;
    }
    int64_t column = a.quotient >> 8;
    const int64_t last = b.quotient >> 8, fa = a.quotient & 255, fb = b.quotient & 255;
    if (column == last) {
        qd_cover(c, column, sign * SUBROWS, sign * (fa + fb) * SUBROWS);
        return;
    }
    const int64_t dx = (b.quotient - a.quotient) * dy + b.remainder - a.remainder;
    const int64_t before = ((column + 1) * 256 * dy - (a.quotient * dy + a.remainder)) * SUBROWS;
    int64_t quotient = before / dx, remainder = before % dx, y = quotient;
    qd_cover(c, column, sign * y, sign * y * (256 + fa));
    const int64_t step = SUBROWS * 256 * dy / dx, left = SUBROWS * 256 * dy % dx;
    while (++column < last) {
        quotient += step, remainder += left;
        if (remainder >= dx) quotient++, remainder -= dx;
        qd_cover(c, column, sign * (quotient - y), sign * (quotient - y) * 256);
        y = quotient;
    }
    qd_cover(c, last, sign * (SUBROWS - y), sign * (SUBROWS - y) * fb);
}

void qd_cover_row(coverage *c, const edge *left, const edge *right, int32_t row) {
    cover_edge(c, left, row, 1);
    cover_edge(c, right, row, -1);
}

void qd_alpha(const coverage *c, const int32_t columns[2], uint8_t *alpha) {
    int32_t height = 0;
    for (int32_t k = c->first; k <= c->last && k < columns[1]; k++) {
        height += c->height[k];
        if (k >= columns[0]) alpha[k] = (uint8_t)(((height * 512 - c->area[k]) * 17 + 256) >> 9);
    }
}
