/* Drawings to 28x28 bitmaps, byte for byte as cairo makes them. See qd.h. */
#include "bitmap.h"

#include <string.h>

size_t qd_bitmap_scratch(int64_t longest) {
    const size_t n = (size_t)longest;
    return 2 * n * sizeof(int32_t) + 2 * MAX_EDGES(n) * sizeof(edge) + (4 * MAX_EDGES(n) + SIDE * SUBROWS) * sizeof(int32_t);
}

static int32_t largest(const uint8_t *p, int64_t n) {
    int32_t max = 0;
    for (int64_t k = 0; k < n; k++) max = p[k] > max ? p[k] : max;
    return max;
}

void qd_bitmaps(int level, const qd_view *v, const int64_t *rows, int64_t n, int64_t longest, void *scratch,
                uint8_t *out) {
    (void)level;
    edge *const edges = scratch;
    int32_t *const a = (int32_t *)(edges + 2 * MAX_EDGES(longest)), *const b = a + longest, *const rest = b + longest;
    for (int64_t i = 0; i < n; i++, out += SIDE * SIDE) {
        const int64_t row = rows ? rows[i] : i, first = v->drawing_offsets[row], last = v->drawing_offsets[row + 1];
        const int64_t from = v->stroke_offsets[first], points = v->stroke_offsets[last] - from;
        const int32_t shift_x = 256 - largest(v->x + from, points), shift_y = 256 - largest(v->y + from, points);
        memset(out, 0, SIDE * SIDE);
        for (int64_t s = first; s < last; s++) {
            const int64_t at = v->stroke_offsets[s], count = v->stroke_offsets[s + 1] - at;
            for (int64_t k = 0; k < count; k++) {
                a[k] = 2 * v->x[at + k] + shift_x;
                b[k] = 2 * v->y[at + k] + shift_y;
            }
            outline o = {edges, 0, 0, 0};
            qd_outline(a, b, count, &o);
            qd_draw_list(&o, rest, out);
        }
    }
}
