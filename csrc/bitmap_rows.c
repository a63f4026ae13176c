/* Coverage of pixel rows, and blending it. See bitmap.h. */
#include "bitmap.h"

#include <string.h>

typedef struct {
    int64_t quotient, remainder;
} ratio;

static inline ratio floored(ratio r, int64_t divisor) {
    if (r.remainder < 0) return (ratio){r.quotient - 1, r.remainder + divisor};
    if (r.remainder >= divisor) return (ratio){r.quotient + 1, r.remainder - divisor};
    return r;
}

static inline ratio divide(int64_t a, int64_t b) { return floored((ratio){a / b, a % b}, b); }

/* Where an edge is at the top of a row: half a step of a subrow above the subrow's middle, the step halved in integers. */
static ratio at_top(const edge *e, int32_t row, int64_t dy) {
    const int64_t dx = (int64_t)e->dx * 256;
    ratio x = divide(((int64_t)(2 * SUBROWS * row + 1) * 256 - 30 * (int64_t)e->y) * dx, dy);
    x.quotient += e->x;
    const int64_t step = dx * 512 / dy, left = dx * 512 % dy;
    return floored((ratio){x.quotient - step / 2, x.remainder - left / 2}, dy);
}

static inline void cover(coverage *c, int64_t column, int64_t height, int64_t area) {
    const int64_t at = column < 0 ? 0 : column > SIDE + 1 ? SIDE + 1 : column;
    c->height[at] += (int32_t)height;
    c->area[at] += (int32_t)area;
}

static void cover_edge(coverage *c, const edge *e, int32_t row, int sign) {
    if (e->dx == 0) {
        cover(c, e->x >> 8, sign * SUBROWS, sign * 2 * (e->x & 255) * SUBROWS);
        return;
    }
    const int64_t dy = (int64_t)e->dy * SUBROWS * 512;
    ratio a = at_top(e, row, dy), b = at_top(e, row + 1, dy);
    if (b.quotient >> 8 < a.quotient >> 8) {
        const ratio t = a;
        a = b, b = t;
    }
    int64_t column = a.quotient >> 8;
    const int64_t last = b.quotient >> 8, fa = a.quotient & 255, fb = b.quotient & 255;
    if (column == last) {
        cover(c, column, sign * SUBROWS, sign * (fa + fb) * SUBROWS);
        return;
    }
    const int64_t dx = (b.quotient - a.quotient) * dy + b.remainder - a.remainder;
    const int64_t before = ((column + 1) * 256 * dy - (a.quotient * dy + a.remainder)) * SUBROWS;
    int64_t quotient = before / dx, remainder = before % dx, y = quotient;
    cover(c, column, sign * y, sign * y * (256 + fa));
    const int64_t step = SUBROWS * 256 * dy / dx, left = SUBROWS * 256 * dy % dx;
    while (++column < last) {
        quotient += step, remainder += left;
        if (remainder >= dx) quotient++, remainder -= dx;
        cover(c, column, sign * (quotient - y), sign * (quotient - y) * 256);
        y = quotient;
    }
    cover(c, last, sign * (SUBROWS - y), sign * (SUBROWS - y) * fb);
}

void qd_cover_row(coverage *c, const edge *left, const edge *right, int32_t row) {
    cover_edge(c, left, row, 1);
    cover_edge(c, right, row, -1);
}

static inline int of_255(int a, int b) {
    const int t = a * b + 127;
    return (t + (t >> 8)) >> 8;
}

void qd_blend(coverage *c, int32_t left, int32_t right, uint8_t *pixels) {
    int32_t height = 0;
    for (int32_t k = 0; k < right; k++) {
        height += c->height[k];
        const int32_t area = height * 512 - c->area[k];
        const uint8_t alpha = (uint8_t)((area * 17 + 256) >> 9);
        if (k >= left && alpha) {
            const int v = alpha + of_255(pixels[k], 255 - alpha);
            pixels[k] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
    memset(c, 0, sizeof *c);
}
