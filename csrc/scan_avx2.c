/* The line scanner with AVX2. See qd.h. */
#include "qd.h"

#if QD_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif
#include <immintrin.h>

#define QD_BLOCK 32

typedef struct {
    uint64_t ends, others, bad;
    __m128i values; /* of the numbers that end here, packed. A number takes two bytes or more, so 16 at most */
} block;

#include "scan_blocks.h"
#include "scan_shuffle.h"

/* Shuffles that move bytes by k places and fill with zeros: up with qd_move + 16 - k, down with qd_move + 16 + k. */
static const uint8_t qd_move[48] = {128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
                                    0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,
                                    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};

static inline __m256i load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline __m128i load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
static inline __m256i table(const void *t) { return _mm256_broadcastsi128_si256(load16(t)); }
static inline uint64_t mask(__m256i v) { return (uint32_t)_mm256_movemask_epi8(v); }
static inline __m256i below_ten(__m256i d) { return _mm256_cmpeq_epi8(_mm256_min_epu8(d, _mm256_set1_epi8(9)), d); }

/* The bytes whose bits are set in `keep`, packed to the front, then zeros. */
static inline __m128i front(__m128i eight, unsigned keep) {
    return _mm_move_epi64(_mm_shuffle_epi8(eight, _mm_loadl_epi64((const __m128i *)qd_front[keep])));
}

/* The values where `ends` is set, packed to the front. At most one of each pair of bytes is set. */
static inline __m128i compact(__m256i values, __m256i ends) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_and_si256(values, ends), _mm256_set1_epi8(1));
    const __m256i none = _mm256_cmpeq_epi16(ends, _mm256_setzero_si256());
    const __m128i found = _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    const __m128i gaps = _mm_packs_epi16(_mm256_castsi256_si128(none), _mm256_extracti128_si256(none, 1));
    const unsigned keep = ~(unsigned)_mm_movemask_epi8(gaps), low = keep & 0xff, high = keep >> 8 & 0xff;
    const __m128i up = load16(qd_move + 16 - __builtin_popcount(low));
    return _mm_or_si128(front(found, low), _mm_shuffle_epi8(front(_mm_unpackhi_epi64(found, found), high), up));
}

static inline block classify(const uint8_t *p) {
    const __m256i zero = _mm256_set1_epi8('0'), comma = _mm256_set1_epi8(',');
    const __m256i c0 = load(p), c1 = load(p - 1), c2 = load(p - 2), c3 = load(p - 3), d1 = _mm256_sub_epi8(c1, zero);
    const __m256i is0 = below_ten(_mm256_sub_epi8(c0, zero)), is1 = below_ten(d1);
    const __m256i is2 = below_ten(_mm256_sub_epi8(c2, zero)), is3 = below_ten(_mm256_sub_epi8(c3, zero));
    const __m256i comma0 = _mm256_cmpeq_epi8(c0, comma), ends = _mm256_andnot_si256(is0, is1);
    /* The number that ends before this byte: c1 + 10 c2 + 100 c3, as far as these are digits. */
    const __m256i low = _mm256_add_epi8(d1, _mm256_shuffle_epi8(table(qd_tens), c2));
    const __m256i hundreds = _mm256_and_si256(is2, c3);
    const __m256i values = _mm256_add_epi8(low, _mm256_shuffle_epi8(table(qd_hundreds), hundreds));
    const __m256i large = _mm256_cmpgt_epi8(low, _mm256_shuffle_epi8(table(qd_most), hundreds));
    const __m256i four = _mm256_and_si256(_mm256_and_si256(is0, is1), _mm256_and_si256(is2, is3));
    const __m256i zeros = _mm256_and_si256(is0, _mm256_andnot_si256(is2, _mm256_cmpeq_epi8(c1, zero)));
    const __m256i commas = _mm256_and_si256(comma0, _mm256_cmpeq_epi8(c1, comma));
    const __m256i number = _mm256_or_si256(_mm256_or_si256(four, zeros), _mm256_and_si256(ends, large));
    const block b = {.ends = mask(ends),
                     .others = ~mask(_mm256_or_si256(is0, comma0)) & 0xffffffff,
                     .bad = mask(_mm256_or_si256(number, commas)),
                     .values = compact(values, ends)};
    return b;
}

static inline void put(uint8_t *to, const block *b, uint64_t segment, int before) {
    (void)segment;
    _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi8(b->values, load16(qd_move + 16 + before)));
}

#include "scan_squeeze.h"

static inline text_block classify_text(const uint8_t *p) {
    const __m256i c = load(p);
    const text_block b = {.blanks = mask(_mm256_cmpeq_epi8(c, _mm256_shuffle_epi8(table(qd_blanks), c))),
                          .digits = mask(below_ten(_mm256_sub_epi8(c, _mm256_set1_epi8('0')))),
                          .stops = mask(_mm256_cmpeq_epi8(c, _mm256_shuffle_epi8(table(qd_stops), c)))};
    return b;
}

static inline uint8_t *pack(uint8_t *to, const uint8_t *p, uint64_t keep) {
    for (int i = 0; i < QD_BLOCK; i += 8, keep >>= 8) {
        const __m128i eight = _mm_loadl_epi64((const __m128i *)(p + i));
        _mm_storel_epi64((__m128i *)to, front(eight, keep & 0xff));
        to += __builtin_popcount(keep & 0xff);
    }
    return to;
}

#define QD_SCAN qd_scan_avx2
#include "scan_line.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int qd_no_avx2;
#endif
