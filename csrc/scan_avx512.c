/* The line scanner with AVX-512: F, BW and VBMI2 (Intel from Ice Lake, AMD from Zen 4 on). See qd.h. */
#include "qd.h"

#if QD_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vbmi2,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vbmi2,bmi,bmi2,lzcnt,popcnt")
#endif
#include <immintrin.h>

#include "coordinates.h"

/* A list is read by windows of 64 bytes, each beginning with a number. At the position of a number's last digit c0,
   its value is c0 + 10 c1 + 100 c2 of the characters there and before it. */
static inline const uint8_t *coordinates(const uint8_t *p, uint8_t *out, int64_t cap, int64_t *n) {
    const __m512i zero = _mm512_set1_epi8('0'), nine = _mm512_set1_epi8(9);
    const __m512i tens = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)qd_tens));
    const __m512i hundreds = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)qd_hundreds));
    const __m512i most = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)qd_most));
    int64_t filled = 0;
    for (;;) {
        const __m512i c0 = _mm512_loadu_si512(p), c1 = _mm512_loadu_si512(p - 1), c2 = _mm512_loadu_si512(p - 2);
        const __m512i d0 = _mm512_sub_epi8(c0, zero);
        const uint64_t digit = _mm512_cmple_epu8_mask(d0, nine);
        const uint64_t comma = _mm512_cmpeq_epi8_mask(c0, _mm512_set1_epi8(','));
        const uint64_t bracket = _mm512_cmpeq_epi8_mask(c0, _mm512_set1_epi8(']'));
        /* In front of the window there is '[' or ',', which the tables take for 0. */
        const __m512i below = _mm512_add_epi8(d0, _mm512_shuffle_epi8(tens, c1));
        const __m512i h = _mm512_maskz_mov_epi8(digit << 1, c2);
        const __m512i value = _mm512_add_epi8(below, _mm512_shuffle_epi8(hundreds, h));
        const uint64_t large = _mm512_cmpgt_epi8_mask(below, _mm512_shuffle_epi8(most, h));
        const uint64_t naught = _mm512_cmpeq_epi8_mask(c0, zero);
        const window w = qd_window(digit, comma, bracket, naught, large);
        if (w.bad) return NULL;
        const int64_t k = __builtin_popcountll(w.last);
        if (filled + k > cap) return NULL;
        _mm512_storeu_si512(out + filled, _mm512_maskz_compress_epi8(w.last, value));
        filled += k;
        p += w.size;
        if (w.end) {
            *n = filled;
            return p;
        }
    }
}

#define QD_SCAN qd_scan_avx512
#include "scan_line.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int qd_no_avx512;
#endif
