/* Digits and moments in time, for the scanners alone. Each function returns the byte behind what it read, or NULL if it is
   not certain. */
#ifndef QD_SCAN_TIME_H
#define QD_SCAN_TIME_H

#include "scan_bytes.h"

#include <string.h>

static const uint8_t *unsigned_digits(const uint8_t *p, int max_digits, uint64_t *value) {
    uint64_t v = 0;
    const uint8_t *start = p;
    while (is_digit(*p) && p - start < max_digits) v = v * 10 + (uint64_t)(*p++ - '0');
    *value = v;
    return p > start ? p : NULL;
}

static inline int two_digits(const uint8_t *p) {
    return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + (p[1] - '0') : -1;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, year >= 1 (H. Hinnant, "chrono-compatible low-level
   date algorithms"). */
static inline int64_t days_from_civil(int64_t y, int m, int d) {
    y -= m <= 2;
    const int64_t era = y / 400, yoe = y - era * 400;
    const int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static inline int days_in_month(int y, int m) {
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

/* field: year, month, day, hour, minute, second. 0 if there is no such moment. */
static inline int moment(const int field[6], int64_t fraction, int64_t *us) {
    if (field[0] < 1 || field[1] < 1 || field[1] > 12 || field[2] < 1 ||
        field[2] > days_in_month(field[0], field[1]) || field[3] > 23 || field[4] > 59 || field[5] > 59)
        return 0;
    const int64_t days = days_from_civil(field[0], field[1], field[2]);
    *us = (((days * 24 + field[3]) * 60 + field[4]) * 60 + field[5]) * 1000000 + fraction;
    return 1;
}

#if LITTLE_ENDIAN_WORDS

/* A timestamp with a fraction; `p` stands behind its opening quote. NULL says nothing. */
static inline const uint8_t *usual_timestamp(const uint8_t *p, int64_t *us) {
    const uint64_t a = load8(p), b = load8(p + 8), c = load8(p + 16), f = load8(p + 20);
    const uint64_t dash = 0xffu;
    /* dddd-dd- dd dd:dd :dd. */
    uint64_t wrong = (a ^ EIGHT(0, 0, 0, 0, '-', 0, 0, '-')) & (dash << 32 | dash << 56);
    wrong |= (b ^ EIGHT(0, 0, ' ', 0, 0, ':', 0, 0)) & (dash << 16 | dash << 40);
    wrong |= (c ^ EIGHT(':', 0, 0, '.', 0, 0, 0, 0)) & (dash | dash << 24);
    wrong |= no_digits(a) & ~(dash << 32 | dash << 56);
    wrong |= no_digits(b) & ~(dash << 16 | dash << 40);
    wrong |= no_digits(c) & (dash << 8 | dash << 16);
    const uint64_t end = no_digits(f);
    if (wrong || !end) return NULL;
    const int digits = __builtin_ctzll(end) >> 3;
    if (digits < 1 || digits > 6 || !BEGINS(p + 20 + digits, 5, EIGHT(' ', 'U', 'T', 'C', '"', 0, 0, 0))) return NULL;
    const uint64_t low = 0x0f0f0f0f0f0f0f0fu;
    const uint64_t pa = (a & low) * 10 + ((a & low) >> 8), pb = (b & low) * 10 + ((b & low) >> 8);
    const uint64_t pc = (c & low) * 10 + ((c & low) >> 8); /* byte i: digits i and i + 1 as a number */
    const int field[6] = {(int)(pa & 0xff) * 100 + (int)(pa >> 16 & 0xff), (int)(pa >> 40 & 0xff), (int)(pb & 0xff),
                          (int)(pb >> 24 & 0xff), (int)(pb >> 48 & 0xff), (int)(pc >> 8 & 0xff)};
    const int64_t fraction = (int64_t)eight_digits(f & (((uint64_t)1 << 8 * digits) - 1)) / 100;
    return moment(field, fraction, us) ? p + 25 + digits : NULL;
}

#else
static inline const uint8_t *usual_timestamp(const uint8_t *p, int64_t *us) {
    (void)p, (void)us;
    return NULL;
}
#endif

/* The first of `tails` at `p`; returns the byte behind it. */
static inline const uint8_t *one_of(const uint8_t *p, const char *const *tails) {
    for (; *tails; tails++)
        if (memcmp(p, *tails, strlen(*tails)) == 0) return p + strlen(*tails);
    return NULL;
}

/* A timestamp with or without a fraction, as ISO 8601 has it, too: 2017-03-02T23:25:10.074Z"
   Field by field: none looks behind the first byte that does not fit. */
static const uint8_t *any_timestamp(const uint8_t *p, int64_t *us) {
    static const char separators[6] = {'-', '-', ' ', ':', ':', 0};
    static const char *const tails[] = {" UTC\"", "Z\"", "\"", "+00:00\"", NULL};
    int field[6];
    for (int i = 0; i < 6; i++) {
        int v = two_digits(p);
        if (v < 0) return NULL;
        p += 2;
        if (i == 0) {
            const int low = two_digits(p);
            if (low < 0) return NULL;
            v = v * 100 + low;
            p += 2;
        }
        field[i] = v;
        if (separators[i] && *p++ != separators[i] && !(i == 2 && p[-1] == 'T')) return NULL;
    }
    int64_t fraction = 0;
    if (*p == '.') {
        const uint8_t *start = ++p;
        uint64_t digits;
        if (!(p = unsigned_digits(p, 6, &digits))) return NULL;
        fraction = (int64_t)digits;
        for (int64_t n = p - start; n < 6; n++) fraction *= 10;
        while (*p == '0' && p - start < 9) p++; /* nanoseconds */
    }
    p = one_of(p, tails);
    return p && moment(field, fraction, us) ? p : NULL;
}

/* A number since 1970, of a moment between 1990 and 2100: seconds, milliseconds, microseconds or nanoseconds. */
static const uint8_t *numeric_timestamp(const uint8_t *p, int64_t *us) {
    const uint64_t first = 631152000, last = 4102444800;
    uint64_t number;
    if (*p == '0' || !(p = unsigned_digits(p, 19, &number))) return NULL;
    for (uint64_t unit = 1; unit <= 1000000; unit *= 1000)
        if (number >= first * unit && number < last * unit) {
            *us = (int64_t)(number * (1000000 / unit));
            return p;
        }
    if (number < first * 1000000000 || number >= last * 1000000000 || number % 1000) return NULL;
    *us = (int64_t)(number / 1000);
    return p;
}

#endif
