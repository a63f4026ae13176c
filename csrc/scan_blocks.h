/* Parses a drawing in blocks of QD_BLOCK bytes, for the SIMD levels. A scan_*.c defines QD_BLOCK and

       typedef struct { uint64_t ends, others, bad; ... } block;    bit i is for byte p[i]
       static inline block classify(const uint8_t *p);
       static inline void put(uint8_t *to, const block *b, uint64_t segment, int before);

   classify computes the masks of a block, and may read the three bytes before it:
     ends    the byte before is a digit and this byte is not: a number has ended
     others  this byte is neither a digit nor ','
     bad     this byte cannot belong to a list of numbers: a fourth digit, a digit after a leading 0, the end of a number
             above 255, or a ',' after a ','

   For example, a block that starts with [[12,5],

       byte     [  [  1  2  ,  5  ]  ,
       ends     0  0  0  0  1  0  1  0
       others   1  1  0  0  0  0  1  0
       bad      0  0  0  0  0  0  0  0
       value                12    5       of the number that has ended

   put writes the values of the numbers that end in `segment` to `to`, and up to QD_BLOCK bytes of anything after them.
   `before` numbers of the block have been written already.

   Only the brackets remain to be checked here. The loop visits each byte in `others`: it is either the ']' after a
   number, or one of the few characters between two lists. */
#include "scan_bytes.h"

/* pshufb tables, indexed by the low four bits of a character: digits 0..9, '[' 11, ',' 12, ']' 13, NUL (no digit) 0. */
static const uint8_t qd_tens[16] = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0, 0, 0, 0};
static const uint8_t qd_hundreds[16] = {0, 100, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
/* The largest tens and ones that may follow this hundreds digit, so that no number exceeds 255. */
static const int8_t qd_most[16] = {127, 127, 55, -1, -1, -1, -1, -1, -1, -1, 127, 127, 127, 127, 127, 127};

static inline block classify(const uint8_t *p);
static inline void put(uint8_t *to, const block *b, uint64_t segment, int before);

static inline const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    if (!BEGINS(p, 3, EIGHT('[', '[', '[', 0, 0, 0, 0, 0)) || !is_digit(p[3])) return NULL;
    const int64_t room = out->cap_points - out->n_points;
    int64_t points = 0, strokes = out->n_strokes;
    int64_t nx = 0, n = 0; /* numbers in the stroke's list of x, and so far in the current list */
    uint8_t *to = out->x + out->n_points;
    int is_y = 0, begin = 0; /* begin: first byte of the block that belongs to a list */
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
            if (!(segment >> at)) return NULL; /* no number before it */
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
