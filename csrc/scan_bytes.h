/* Characters one and eight at a time. */
#ifndef QD_SCAN_BYTES_H
#define QD_SCAN_BYTES_H

#include "qd.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LITTLE_ENDIAN_WORDS 1
#else
#define LITTLE_ENDIAN_WORDS 0
#endif

static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

#if LITTLE_ENDIAN_WORDS

static inline uint64_t load8(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, 8);
    return w;
}

/* Eight characters as a word, and whether `p` begins with `n` of them. */
#define EIGHT(a, b, c, d, e, f, g, h)                                                                              \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 |        \
     (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)
#define BEGINS(p, n, word) ((load8(p) ^ (word)) << (64 - 8 * (n)) == 0)

/* The high bit of each byte that is no digit. */
static inline uint64_t no_digits(uint64_t w) {
    const uint64_t high = 0x8080808080808080u;
    const uint64_t above = (w & ~high) + 0x4646464646464646u; /* '9' + 0x46 == 0x7f */
    const uint64_t at_least = (w | high) - 0x3030303030303030u; /* keeps the high bit from '0' on */
    return (w | above | ~at_least) & high;
}

/* Eight digits, the first in the lowest byte, as a number. */
static inline uint64_t eight_digits(uint64_t w) {
    w = (w & 0x0f0f0f0f0f0f0f0fu) * 2561 >> 8;
    w = (w & 0x00ff00ff00ff00ffu) * 6553601 >> 16;
    return (w & 0x0000ffff0000ffffu) * 42949672960001u >> 32;
}

#endif
#endif
