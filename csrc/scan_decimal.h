/* JSON numbers to doubles, rounded as orjson does: to the nearest, ties to even. For the scanners alone. */
#ifndef QD_SCAN_DECIMAL_H
#define QD_SCAN_DECIMAL_H

#include "scan_json.h"
#include "scan_powers.h"

#ifdef __SIZEOF_INT128__
#define QD_DECIMALS 1

/* w * 10^q; w > 0, q in QD_MIN_POWER..QD_MAX_POWER. This is the algorithm of D. Lemire, "Number parsing at a gigabyte per
   second" (2021), which is exact for these q (N. Mushtak and D. Lemire, "Fast number parsing without fallback", 2023). */
static inline double scaled(uint64_t w, int q) {
    const uint64_t *const power = qd_powers[q - QD_MIN_POWER];
    const int zeros = __builtin_clzll(w);
    w <<= zeros;
    unsigned __int128 product = (unsigned __int128)w * power[0];
    if ((product >> 64 & 0x1ff) == 0x1ff) product += (unsigned __int128)w * power[1] >> 64;
    const uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    const int upper = (int)(high >> 63), shift = upper + 64 - 52 - 3;
    uint64_t mantissa = high >> shift; /* 54 bits: one more than a double has */
    uint64_t exponent = (uint64_t)(1023 + 63 + (217706 * q >> 16) + upper - zeros); /* 217706 / 2^16 = log2(10) */
    if (low <= 1 && q >= -4 && (mantissa & 3) == 1 && mantissa << shift == high) mantissa &= ~(uint64_t)1; /* a tie */
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> 53) mantissa >>= 1, exponent++;
    const uint64_t bits = exponent << 52 | (mantissa & ~((uint64_t)1 << 52));
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

/* Append digits to *w; returns the first byte that is none. */
static inline const uint8_t *digits(const uint8_t *p, uint64_t *w) {
#if LITTLE_ENDIAN_WORDS
    static const uint64_t powers[8] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};
    uint64_t word, others;
    for (; !(others = no_digits(word = load8(p))); p += 8) *w = *w * 100000000 + eight_digits(word);
    const int n = __builtin_ctzll(others) >> 3;
    *w = *w * powers[n] + eight_digits(word << 8 << 8 * (7 - n)); /* with zeros before them */
    return p + n;
#else
    while (is_digit(*p)) *w = *w * 10 + (uint64_t)(*p++ - '0');
    return p;
#endif
}

/* Returns the byte behind the number; NULL if it is none, or one of more than 19 digits or with a large exponent. */
static inline const uint8_t *decimal(const uint8_t *p, double *value) {
    const int negative = *p == '-';
    const uint8_t *const first = p + negative;
    uint64_t w = 0;
    p = digits(first, &w);
    int64_t count = p - first, power = 0;
    if (count == 0 || (count > 1 && *first == '0')) return NULL;
    if (*p == '.') {
        const uint8_t *const point = p;
        p = digits(p + 1, &w);
        power = point + 1 - p;
        if (power == 0) return NULL;
        count -= power;
    }
    if (count > 19) return NULL; /* w may have overflowed */
    if ((*p | 0x20) == 'e') {
        const int down = p[1] == '-';
        uint64_t exponent = 0;
        const uint8_t *const start = p + 1 + (down || p[1] == '+');
        p = digits(start, &exponent);
        if (p == start || p - start > 2) return NULL;
        power += down ? -(int64_t)exponent : (int64_t)exponent;
    }
    if (negative && w == 0) return NULL; /* -0 is an integer, -0.0 is not */
    double v = (double)w;
    if (power != 0 && w != 0) {
        if (power < QD_MIN_POWER || power > QD_MAX_POWER) return NULL;
        v = scaled(w, (int)power);
    }
    *value = negative ? -v : v;
    return p;
}

#else
#define QD_DECIMALS 0
#endif
#endif
