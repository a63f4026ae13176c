/* A drawing by blocks of QD_BLOCK bytes, for the SIMD levels. A scan_*.c defines QD_BLOCK and

       typedef struct { uint64_t ends, others, bad; ... } block;    bit i is for byte p[i]
       static inline block classify(const uint8_t *p);
       static inline void put(uint8_t *to, const block *b, uint64_t segment, int before);

   ends: where a digit stands in front and none here: a number ends. others: neither a digit nor ','. bad: whatever
   cannot be part of numbers with one ',' between each two: a fourth digit, a digit behind a leading 0, a number's end
   with a value above 255, a ',' behind a ','. May look three bytes back.
   put writes the values of the numbers that end in `segment`, which are not the first `before` of the block, to `to`;
   and maybe up to QD_BLOCK bytes of anything behind.

   What is left to see to here are the brackets. All bytes but digits and ',' are looked at, each as the ']' behind a
   number or as part of the few characters from there to the next list. */
#include "scan_bytes.h"

/* For pshufb, by the low four bits of a character: digits 0..9, '[' 11, ',' 12, ']' 13; NUL, for no digit, 0. */
static const uint8_t qd_tens[16] = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0, 0, 0, 0};
static const uint8_t qd_hundreds[16] = {0, 100, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
/* What tens and ones may be behind it: no number from 300 on, and 255 at most. */
static const int8_t qd_most[16] = {127, 127, 55, -1, -1, -1, -1, -1, -1, -1, 127, 127, 127, 127, 127, 127};

static inline block classify(const uint8_t *p);
static inline void put(uint8_t *to, const block *b, uint64_t segment, int before);

static inline const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    if (!BEGINS(p, 3, EIGHT('[', '[', '[', 0, 0, 0, 0, 0)) || !is_digit(p[3])) return NULL;
    const int64_t room = out->cap_points - out->n_points;
    int64_t points = 0, strokes = out->n_strokes;
    int64_t nx = 0, n = 0; /* numbers of the stroke's list of x, and so far of the list that is being read */
    uint8_t *to = out->x + out->n_points;
    int is_y = 0, begin = 0; /* of the lists in the block, or of the rest of one */
    for (p += 3;; p += QD_BLOCK) {
        const block b = classify(p);
        const uint64_t inside = ~(uint64_t)0 << begin;
        uint64_t others = b.others & inside, ends = b.ends;
        int before = 0;
        begin = 0;
        while (others) {
            const int at = __builtin_ctzll(others);
            const uint64_t up_to = ((uint64_t)2 << at) - 1;
            const uint64_t segment = ends & up_to;
            if (!(segment >> at)) return NULL; /* no number in front */
            put(to + n, &b, segment, before);
            const int count = __builtin_popcountll(segment);
            n += count;
            before += count;
            ends ^= segment;
            const uint8_t *const q = p + at;
            int behind; /* where the next list begins */
            if (!is_y) {
                if (!BEGINS(q, 3, EIGHT(']', ',', '[', 0, 0, 0, 0, 0)) || !is_digit(q[3])) return NULL;
                behind = at + 3;
                nx = n;
                to = out->y + out->n_points + points;
            } else {
                points += n;
                if (n != nx || points > room || strokes == out->cap_strokes) return NULL;
                out->stroke_offsets[++strokes] = out->n_points + points;
                if (!BEGINS(q, 5, EIGHT(']', ']', ',', '[', '[', 0, 0, 0)) || !is_digit(q[5])) {
                    if (!BEGINS(q, 3, EIGHT(']', ']', ']', 0, 0, 0, 0, 0)) || b.bad & inside & up_to || points < 2)
                        return NULL;
                    *n_points = out->n_points + points;
                    *n_strokes = strokes;
                    return q + 3;
                }
                behind = at + 5;
                to = out->x + out->n_points + points;
            }
            is_y = !is_y;
            n = 0;
            if (behind >= QD_BLOCK) {
                begin = behind - QD_BLOCK;
                break;
            }
            others &= ~(uint64_t)0 << behind;
        }
        if (b.bad & inside) return NULL;
        put(to + n, &b, ends, before);
        n += __builtin_popcountll(ends);
        if (points + n > room) return NULL;
    }
}
