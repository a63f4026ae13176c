/* Rows of bitmaps with NEON. See bitmap.h. */
#include "bitmap.h"

#if QD_ARM
#include <arm_neon.h>

#define QD_DRAW qd_draw_neon

typedef int16_t lanes __attribute__((vector_size(32)));
typedef uint16_t words __attribute__((vector_size(32)));
typedef struct {
    float64x2_t of[8];
} numbers;
typedef union {
    lanes all;
    int16x8_t half[2];
    uint16x8_t word[2];
} halves;

#define HALVES(name, part, instruction)                                        \
    static inline lanes name(lanes a, lanes b) {                               \
        const halves p = {a}, q = {b};                                         \
        halves r;                                                              \
        r.part[0] = instruction(p.part[0], q.part[0]);                         \
        r.part[1] = instruction(p.part[1], q.part[1]);                         \
        return r.all;                                                          \
    }
HALVES(smaller, half, vminq_s16)
HALVES(larger, half, vmaxq_s16)
HALVES(beyond, word, vqsubq_u16)

static inline lanes chosen(lanes yes, lanes no, lanes where) { return (yes & where) | (no & ~where); }
static inline int any(lanes a) {
    const halves p = {a};
    return vmaxvq_u16(vorrq_u16(p.word[0], p.word[1])) != 0;
}
static inline int smallest(lanes a) {
    const halves p = {a};
    return vminvq_s16(vminq_s16(p.half[0], p.half[1]));
}

static inline numbers numbers_of(int32_t first) {
    numbers n;
    for (int i = 0; i < 8; i++) n.of[i] = (float64x2_t){first + 2 * i, first + 2 * i + 1};
    return n;
}

static inline lanes positions(double x, double step, const numbers *number) {
    const float64x2_t at = vdupq_n_f64(x);
    int32x4_t p[4];
    for (int i = 0; i < 4; i++) {
        const int64x2_t low = vcvtq_s64_f64(vfmaq_n_f64(at, number->of[2 * i], step));
        const int64x2_t high = vcvtq_s64_f64(vfmaq_n_f64(at, number->of[2 * i + 1], step));
        p[i] = vqmovn_high_s64(vqmovn_s64(low), high);
    }
    halves r;
    for (int i = 0; i < 2; i++) r.half[i] = vqmovn_high_s32(vqmovn_s32(p[2 * i]), p[2 * i + 1]);
    return r.all;
}

static inline void total(const lanes covered[4], uint8_t *alpha) {
    for (int k = 0; k < 4; k++) {
        const halves p = {covered[k]};
        alpha[k] = (uint8_t)((17 * vaddvq_s16(vaddq_s16(p.half[0], p.half[1])) + 128) >> 8);
    }
}

static inline uint64_t crossing(const int16_t *first, const int16_t *last, int32_t n, int32_t row) {
    static const uint16_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const int16x8_t r = vdupq_n_s16((int16_t)row);
    uint64_t here = 0;
    for (int i = 0; i < 64 && i < n; i += 8) {
        const uint16x8_t crosses = vandq_u16(vcleq_s16(vld1q_s16(first + i), r), vcgeq_s16(vld1q_s16(last + i), r));
        here |= (uint64_t)vaddvq_u16(vandq_u16(crosses, vld1q_u16(bits))) << i;
    }
    return here;
}

#include "bitmap_lanes.h"
#else
typedef int qd_no_neon_bitmaps;
#endif
