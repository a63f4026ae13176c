/* Drawings to 28x28 bitmaps, byte for byte as cairo makes them. See qd.h. */
#include "bitmap.h"

#include <string.h>

size_t qd_bitmap_scratch(int64_t longest) {
    const size_t points = (size_t)longest, chain_points = CHAIN_POINTS(points);
    return WORKSPACE + (2 * points + 4 * chain_points + LIST_SCRATCH(2 * chain_points)) * sizeof(int32_t);
}

static int32_t largest(const uint8_t *p, int64_t n) {
    uint8_t max = 0;
    for (int64_t k = 0; k < n; k++) max = p[k] > max ? p[k] : max;
    return max;
}

/* Coordinates may change meanwhile, in a file that is mapped: none may lie beyond the largest that was found. */
static inline int32_t at_most(int32_t v, int32_t max) { return v < max ? v : max; }

/* v / 2 units as cairo has them: 256 (v / 2 + 24) * 28 / 304, rounded; it is never half way between two integers. */
static inline int32_t fixed(int32_t v) { return (int32_t)(((uint32_t)(v + 48) * 224 + 9) / 19); }

void qd_bitmaps(int level, const qd_view *v, const int64_t *rows, int64_t n, int64_t longest, void *scratch,
                uint8_t *out) {
    int (*const draw)(const outline *, void *, uint8_t[SIDE][WIDTH]) =
#if QD_X86
        level >= QD_AVX2 ? qd_draw_avx2 :
#elif QD_ARM
        level >= QD_NEON ? qd_draw_neon :
#endif
        qd_draw_portable;
    (void)level;
    const int64_t room = CHAIN_POINTS(longest);
    int32_t *const x = (int32_t *)((char *)scratch + WORKSPACE), *const y = x + longest;
    int32_t *const chains = y + longest, *const rest = chains + 4 * room;
    for (int64_t i = 0; i < n; i++, out += SIDE * SIDE) {
        const int64_t row = rows ? rows[i] : i, first = v->drawing_offsets[row], last = v->drawing_offsets[row + 1];
        const int64_t from = v->stroke_offsets[first], points = v->stroke_offsets[last] - from;
        const int32_t max_x = largest(v->x + from, points), max_y = largest(v->y + from, points);
        uint8_t image[SIDE][WIDTH] = {{0}};
        for (int64_t s = first; s < last; s++) {
            const int64_t at = v->stroke_offsets[s], count = v->stroke_offsets[s + 1] - at;
            for (int64_t k = 0; k < count; k++) {
                x[k] = fixed(2 * at_most(v->x[at + k], max_x) + 256 - max_x);
                y[k] = fixed(2 * at_most(v->y[at + k], max_y) + 256 - max_y);
            }
            outline o = {{chains, chains + room, 0}, {chains + 2 * room, chains + 3 * room, 0}, 0};
            qd_outline(x, y, count, &o);
            if (draw(&o, scratch, image)) {
                uint8_t alpha[SIDE][WIDTH];
                int32_t range[2];
                qd_cover_by_list(&o, rest, alpha, range);
                blend(alpha, range, image);
            }
        }
        for (int r = 0; r < SIDE; r++) memcpy(out + r * SIDE, image[r], SIDE);
    }
}
