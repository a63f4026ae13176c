/* The line scanner with NEON, which every arm64 CPU has. See qd.h. */
#include "qd.h"

#if QD_ARM
#include <arm_neon.h>

#define QD_BLOCK 64

typedef struct {
    uint64_t ends, others, bad;
    uint8_t values[64]; /* of the numbers that end here, packed. A number takes two bytes or more, so 32 at most */
} block;

#include "scan_blocks.h"
#include "scan_shuffle.h"

static inline uint8x16_t all(uint8_t v) { return vdupq_n_u8(v); }

/* Bit i of the result is set where byte i of a, b, c, d is 255; the others are 0. */
static inline uint64_t mask(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bit = vld1q_u8(bits);
    const uint8x16_t ab = vpaddq_u8(vandq_u8(a, bit), vandq_u8(b, bit)), cd = vpaddq_u8(vandq_u8(c, bit), vandq_u8(d, bit));
    const uint8x16_t sum = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sum, sum)), 0);
}

/* Number of set bits below each byte of m: byte i for bytes 0..i. */
static inline uint64_t counts(uint64_t m) {
    return vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(vcreate_u8(m))), 0) * 0x0101010101010101u;
}

static inline uint8_t *pack_eight(uint8_t *to, uint8x8_t eight, unsigned keep) {
    vst1_u8(to, vtbl1_u8(eight, vld1_u8(qd_front[keep])));
    return to;
}

/* What a byte says by itself. Of a character that is no digit, `digit` is 16 or more, and vqtbl1q gives 0 for it. */
typedef struct {
    uint8x16_t digit, is_digit, is_comma, tens;
} bytes;

static inline bytes look(uint8x16_t c, uint8x16_t tens) {
    const uint8x16_t digit = vsubq_u8(c, all('0'));
    const bytes b = {digit, vcleq_u8(digit, all(9)), vceqq_u8(c, all(',')), vqtbl1q_u8(tens, digit)};
    return b;
}

typedef struct {
    uint8x16_t ends, known, bad, values;
} part;

/* `before` and `here` are neighbours: vextq gives the bytes one, two, three places before those of `here`. */
static inline part judge(const bytes *before, const bytes *here, uint8x16_t hundreds, uint8x16_t most) {
    const uint8x16_t is0 = here->is_digit, is1 = vextq_u8(before->is_digit, is0, 15);
    const uint8x16_t is2 = vextq_u8(before->is_digit, is0, 14), is3 = vextq_u8(before->is_digit, is0, 13);
    const uint8x16_t digit1 = vextq_u8(before->digit, here->digit, 15), digit3 = vextq_u8(before->digit, here->digit, 13);
    const uint8x16_t low = vaddq_u8(digit1, vextq_u8(before->tens, here->tens, 14));
    const uint8x16_t third = vornq_u8(digit3, is2), ends = vbicq_u8(is1, is0);
    const uint8x16_t limit = vqtbx1q_u8(all(127), most, third);
    const uint8x16_t large = vcgtq_s8(vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(limit));
    const uint8x16_t two = vandq_u8(is0, is1), four = vandq_u8(two, vandq_u8(is2, is3));
    const uint8x16_t zero = vbicq_u8(vandq_u8(is0, vceqzq_u8(digit1)), is2);
    const uint8x16_t commas = vandq_u8(here->is_comma, vextq_u8(before->is_comma, here->is_comma, 15));
    const part r = {.ends = ends,
                    .known = vorrq_u8(is0, here->is_comma),
                    .bad = vorrq_u8(vorrq_u8(four, zero), vorrq_u8(commas, vandq_u8(ends, large))),
                    .values = vandq_u8(ends, vaddq_u8(low, vqtbl1q_u8(hundreds, third)))};
    return r;
}

static inline block classify(const uint8_t *p) {
    const uint8x16_t tens = vld1q_u8(qd_tens), hundreds = vld1q_u8(qd_hundreds), most = vld1q_u8((const uint8_t *)qd_most);
    const bytes b = look(vextq_u8(all(0), vld1q_u8(p - 3), 3), tens); /* the three bytes before p */
    const bytes b0 = look(vld1q_u8(p), tens), b1 = look(vld1q_u8(p + 16), tens);
    const bytes b2 = look(vld1q_u8(p + 32), tens), b3 = look(vld1q_u8(p + 48), tens);
    const part r0 = judge(&b, &b0, hundreds, most), r1 = judge(&b0, &b1, hundreds, most);
    const part r2 = judge(&b1, &b2, hundreds, most), r3 = judge(&b2, &b3, hundreds, most);
    block r;
    r.ends = mask(r0.ends, r1.ends, r2.ends, r3.ends);
    r.others = ~mask(r0.known, r1.known, r2.known, r3.known);
    r.bad = mask(r0.bad, r1.bad, r2.bad, r3.bad);
    /* Of each pair of bytes, a number ends at one at most. */
    const uint8x16_t low = vpaddq_u8(r0.values, r1.values), high = vpaddq_u8(r2.values, r3.values);
    const uint64_t pairs = mask(vpaddq_u8(r0.ends, r1.ends), vpaddq_u8(r2.ends, r3.ends), all(0), all(0));
    const uint64_t behind = counts(pairs);
    pack_eight(r.values, vget_low_u8(low), pairs & 0xff);
    pack_eight(r.values + (behind & 0xff), vget_high_u8(low), pairs >> 8 & 0xff);
    pack_eight(r.values + (behind >> 8 & 0xff), vget_low_u8(high), pairs >> 16 & 0xff);
    pack_eight(r.values + (behind >> 16 & 0xff), vget_high_u8(high), pairs >> 24);
    return r;
}

static inline void put(uint8_t *to, const block *b, uint64_t segment, int before) {
    (void)segment;
    vst1q_u8(to, vld1q_u8(b->values + before));
    vst1q_u8(to + 16, vld1q_u8(b->values + before + 16));
}

#include "scan_squeeze.h"

static inline text_block classify_text(const uint8_t *p) {
    const uint8x16_t blanks = vld1q_u8(qd_blanks), stops = vld1q_u8(qd_stops);
    uint8x16_t is_blank[4], is_digit[4], is_stop[4];
    for (int i = 0; i < 4; i++) {
        const uint8x16_t c = vld1q_u8(p + 16 * i), low = vandq_u8(c, all(15));
        is_blank[i] = vceqq_u8(c, vqtbl1q_u8(blanks, low));
        is_digit[i] = vcleq_u8(vsubq_u8(c, all('0')), all(9));
        is_stop[i] = vceqq_u8(c, vqtbl1q_u8(stops, low));
    }
    const text_block b = {.blanks = mask(is_blank[0], is_blank[1], is_blank[2], is_blank[3]),
                          .digits = mask(is_digit[0], is_digit[1], is_digit[2], is_digit[3]),
                          .stops = mask(is_stop[0], is_stop[1], is_stop[2], is_stop[3])};
    return b;
}

static inline uint8_t *pack(uint8_t *to, const uint8_t *p, uint64_t keep) {
    const uint64_t behind = counts(keep);
    for (int i = 0; i < 8; i++)
        pack_eight(to + (i ? behind >> 8 * (i - 1) & 0xff : 0), vld1_u8(p + 8 * i), keep >> 8 * i & 0xff);
    return to + (behind >> 56);
}

#define QD_SCAN qd_scan_neon
#include "scan_line.h"
#else
typedef int qd_no_neon;
#endif
