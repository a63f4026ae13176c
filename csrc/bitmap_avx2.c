/* Rows of bitmaps with AVX2. See bitmap.h. */
#include "bitmap.h"

#if QD_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi2")
#endif
#include <immintrin.h>

#define QD_DRAW qd_draw_avx2

typedef int16_t lanes __attribute__((vector_size(32)));
typedef uint16_t words __attribute__((vector_size(32)));
typedef struct {
    __m256d of[4];
} numbers;

static inline lanes smaller(lanes a, lanes b) { return (lanes)_mm256_min_epi16((__m256i)a, (__m256i)b); }
static inline lanes larger(lanes a, lanes b) { return (lanes)_mm256_max_epi16((__m256i)a, (__m256i)b); }
static inline lanes beyond(lanes a, lanes b) { return (lanes)_mm256_subs_epu16((__m256i)a, (__m256i)b); }
static inline lanes chosen(lanes yes, lanes no, lanes where) {
    return (lanes)_mm256_blendv_epi8((__m256i)no, (__m256i)yes, (__m256i)where);
}
static inline int any(lanes a) { return !_mm256_testz_si256((__m256i)a, (__m256i)a); }
static inline int smallest(lanes a) {
    const __m128i half = _mm_min_epi16(_mm256_castsi256_si128((__m256i)a), _mm256_extracti128_si256((__m256i)a, 1));
    return _mm_extract_epi16(_mm_minpos_epu16(half), 0);
}

static inline numbers numbers_of(int32_t first) {
    numbers n;
    for (int i = 0; i < 4; i++) n.of[i] = _mm256_add_pd(_mm256_set1_pd(first + 4 * i), _mm256_setr_pd(0, 1, 2, 3));
    return n;
}

static inline lanes positions(double x, double step, const numbers *number) {
    const __m256d at = _mm256_set1_pd(x), by = _mm256_set1_pd(step);
    __m128i p[4];
    for (int i = 0; i < 4; i++) p[i] = _mm256_cvttpd_epi32(_mm256_fmadd_pd(by, number->of[i], at));
    return (lanes)_mm256_set_m128i(_mm_packs_epi32(p[2], p[3]), _mm_packs_epi32(p[0], p[1]));
}

static inline void total(const lanes covered[4], uint8_t *alpha) {
    const __m256i *v = (const __m256i *)covered;
    const __m256i t = _mm256_hadd_epi16(_mm256_hadd_epi16(v[0], v[1]), _mm256_hadd_epi16(v[2], v[3]));
    __m128i a = _mm_add_epi16(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
    a = _mm_add_epi16(_mm_mullo_epi16(_mm_hadd_epi16(a, a), _mm_set1_epi16(17)), _mm_set1_epi16(128));
    _mm_storeu_si32(alpha, _mm_packus_epi16(_mm_srli_epi16(a, 8), a));
}

static inline uint64_t crossing(const int16_t *first, const int16_t *last, int32_t n, int32_t row) {
    const __m256i r = _mm256_set1_epi16((int16_t)row);
    uint64_t here = 0;
    for (int i = 0; i < 64 && i < n; i += 16) {
        const __m256i f = _mm256_loadu_si256((const __m256i *)(first + i));
        const __m256i l = _mm256_loadu_si256((const __m256i *)(last + i));
        const __m256i not = _mm256_or_si256(_mm256_cmpgt_epi16(f, r), _mm256_cmpgt_epi16(r, l));
        here |= (uint64_t)_pext_u32(~(uint32_t)_mm256_movemask_epi8(not), 0x55555555) << i;
    }
    return here;
}

#include "bitmap_lanes.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
