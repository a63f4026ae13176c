/* The line scanner with AVX-512: F, BW and VBMI2 (Intel from Ice Lake, AMD from Zen 4 on). See qd.h. */
#include "qd.h"

#if QD_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vbmi2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vbmi2,bmi,bmi2,popcnt")
#endif
#include <immintrin.h>

#define QD_BLOCK 64

typedef struct {
    uint64_t ends, others, bad;
    __m512i values; /* at `ends` */
} block;

#include "scan_blocks.h"

static inline __m512i table(const void *t) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)t)); }

static inline block classify(const uint8_t *p) {
    const __m512i zero = _mm512_set1_epi8('0'), nine = _mm512_set1_epi8(9), comma = _mm512_set1_epi8(',');
    const __m512i c0 = _mm512_loadu_si512(p), c1 = _mm512_loadu_si512(p - 1), c2 = _mm512_loadu_si512(p - 2);
    const __m512i c3 = _mm512_loadu_si512(p - 3), d1 = _mm512_sub_epi8(c1, zero);
    const uint64_t is0 = _mm512_cmple_epu8_mask(_mm512_sub_epi8(c0, zero), nine);
    const uint64_t is1 = _mm512_cmple_epu8_mask(d1, nine);
    const uint64_t is2 = _mm512_cmple_epu8_mask(_mm512_sub_epi8(c2, zero), nine);
    const uint64_t is3 = _mm512_cmple_epu8_mask(_mm512_sub_epi8(c3, zero), nine);
    const uint64_t comma0 = _mm512_cmpeq_epi8_mask(c0, comma);
    /* The number that ends before this byte: c1 + 10 c2 + 100 c3, as far as these are digits. */
    const __m512i low = _mm512_add_epi8(d1, _mm512_shuffle_epi8(table(qd_tens), c2));
    const __m512i hundreds = _mm512_maskz_mov_epi8(is2, c3);
    block b;
    b.values = _mm512_add_epi8(low, _mm512_shuffle_epi8(table(qd_hundreds), hundreds));
    b.ends = is1 & ~is0;
    b.others = ~(is0 | comma0);
    b.bad = is0 & is1 & is2 & is3;
    b.bad |= is0 & ~is2 & _mm512_cmpeq_epi8_mask(c1, zero);
    b.bad |= b.ends & _mm512_cmpgt_epi8_mask(low, _mm512_shuffle_epi8(table(qd_most), hundreds));
    b.bad |= comma0 & _mm512_cmpeq_epi8_mask(c1, comma);
    return b;
}

static inline void put(uint8_t *to, const block *b, uint64_t segment, int before) {
    (void)before;
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(segment, b->values));
}

#include "scan_squeeze.h"

static inline text_block classify_text(const uint8_t *p) {
    const __m512i c = _mm512_loadu_si512(p), d = _mm512_sub_epi8(c, _mm512_set1_epi8('0'));
    const text_block b = {.blanks = _mm512_cmpeq_epi8_mask(c, _mm512_shuffle_epi8(table(qd_blanks), c)),
                          .digits = _mm512_cmple_epu8_mask(d, _mm512_set1_epi8(9)),
                          .stops = _mm512_cmpeq_epi8_mask(c, _mm512_shuffle_epi8(table(qd_stops), c))};
    return b;
}

static inline uint8_t *pack(uint8_t *to, const uint8_t *p, uint64_t keep) {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(keep, _mm512_loadu_si512(p)));
    return to + __builtin_popcountll(keep);
}

#define QD_SCAN qd_scan_avx512
#include "scan_line.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int qd_no_avx512;
#endif
