/* What the SIMD levels share in reading lists of coordinates: tables, and the check of a window of 64 characters. */
#ifndef QD_COORDINATES_H
#define QD_COORDINATES_H

#include <stdint.h>

/* By the low four bits of a character: digits 0..9, '[' 11, ',' 12, ']' 13; NUL, which stands for no digit, 0. */
static const uint8_t qd_tens[16] = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0, 0, 0, 0};
static const uint8_t qd_hundreds[16] = {0, 100, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
/* What tens and ones may be behind it: no number from 300 on, and 255 at most. */
static const int8_t qd_most[16] = {127, 127, 55, -1, -1, -1, -1, -1, -1, -1, 127, 127, 127, 127, 127, 127};

typedef struct {
    uint64_t last; /* the last digit of each of its numbers */
    int size;      /* bytes to go on behind */
    int end;       /* whether that is behind the list's ']' */
    int bad;       /* whether it is anything but complete numbers, with one separator behind each */
} window;

/* A window that begins with a number, as bit masks, bit i for byte i: what is a digit, a ',', a ']', a '0', and where
   the number that ends there would be above 255 (meaningless where none does). Complete are the numbers up to the first
   ']', else up to the last ','. */
static inline window qd_window(uint64_t digit, uint64_t comma, uint64_t bracket, uint64_t naught, uint64_t large) {
    window w;
    const uint64_t first = bracket & (0 - bracket);
    w.end = bracket != 0;
    const int top = w.end ? __builtin_ctzll(bracket) : 63 - __builtin_clzll(comma | 1);
    const uint64_t within = ((uint64_t)2 << top) - 1; /* with the separator; 2 << 63 is 0 */
    const uint64_t separator = comma | first;
    const uint64_t before = digit << 1; /* a digit stands in front */
    w.last = digit & separator >> 1 & within;
    w.size = top + 1;
    uint64_t bad = ~(digit | separator);         /* another character */
    bad |= ~digit & ~before;                     /* no number between separators, or in front of the first */
    bad |= digit & before & digit << 2 & digit << 3; /* four digits */
    bad |= naught & ~before & digit >> 1;        /* a leading 0 */
    bad |= w.last & large;
    w.bad = (bad & within) != 0 || !separator;
    return w;
}

#endif
