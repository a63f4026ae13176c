/* Rows of bitmaps with what every CPU has. See bitmap.h. */
#include "bitmap.h"

#include <string.h>

#define QD_DRAW qd_draw_portable

typedef int16_t lanes __attribute__((vector_size(32)));
typedef uint16_t words __attribute__((vector_size(32)));
typedef int32_t numbers; /* the first lane's */

#if defined(__SSE2__)
#include <emmintrin.h>
typedef union {
    lanes all;
    __m128i half[2];
} halves;
#define HALVES(name, instruction)                            \
    static inline lanes name(lanes a, lanes b) {             \
        halves p = {a}, q = {b};                             \
        p.half[0] = instruction(p.half[0], q.half[0]);       \
        p.half[1] = instruction(p.half[1], q.half[1]);       \
        return p.all;                                        \
    }
HALVES(smaller, _mm_min_epi16)
HALVES(larger, _mm_max_epi16)
HALVES(beyond, _mm_subs_epu16)
#else
static inline lanes smaller(lanes a, lanes b) { return (a & (a < b)) | (b & (a >= b)); }
static inline lanes larger(lanes a, lanes b) { return (a & (a > b)) | (b & (a <= b)); }
static inline lanes beyond(lanes a, lanes b) { return (a - b) & (a > b); }
#endif
static inline lanes chosen(lanes yes, lanes no, lanes where) { return (yes & where) | (no & ~where); }
static inline int any(lanes a) {
    int64_t parts[4];
    memcpy(parts, &a, sizeof parts);
    return ((parts[0] | parts[1]) | (parts[2] | parts[3])) != 0;
}
static inline int smallest(lanes a) {
    int s = a[0];
    for (int i = 1; i < 16; i++) s = a[i] < s ? a[i] : s;
    return s;
}

static inline numbers numbers_of(int32_t first) { return first; }

static inline lanes positions(double x, double step, const numbers *number) {
    int16_t at[16];
    lanes v;
    for (int i = 0; i < 16; i++) {
        const double p = x + (*number + i) * step;
        at[i] = (int16_t)(int32_t)(p > 0 && p < INT16_MAX ? p : 0); /* elsewhere, the edge is not there */
    }
    memcpy(&v, at, sizeof v);
    return v;
}

static inline void total(const lanes covered[4], uint8_t *alpha) {
    for (int k = 0; k < 4; k++) {
        int32_t sum = 0;
        for (int i = 0; i < 16; i++) sum += covered[k][i];
        alpha[k] = (uint8_t)((17 * sum + 128) >> 8);
    }
}

static inline uint64_t crossing(const int16_t *first, const int16_t *last, int32_t n, int32_t row) {
    uint64_t here = 0;
    for (int i = 0; i < 64 && i < n; i++) here |= (uint64_t)(first[i] <= row && row <= last[i]) << i;
    return here;
}

#include "bitmap_lanes.h"
