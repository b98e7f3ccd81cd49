/* words: answers the number of words in the text it gets, in decimal, and a newline.

   A word is a longest run of bytes that are not ASCII white space (space, \t, \n, \v, \f, \r). The
   text is counted as it comes in, whatever its size and encoding. */
#include "../sample.h"

static char piece[PIECE_BYTES];

int main(void) {
    unsigned long long words = 0;
    int inside = 0;
    for (;;) {
        ssize_t n = read(0, piece, sizeof piece);
        if (n < 0) complain("cannot read the text");
        if (n == 0) break;
        for (ssize_t i = 0; i < n; i++) {
            char c = piece[i];
            int space = c == ' ' || (c >= '\t' && c <= '\r');
            words += (unsigned)(!space && !inside);
            inside = !space;
        }
    }
    if (cgi()) put_text("Content-Type: text/plain; charset=utf-8\n\n");
    put_number(words);
    return 0;
}
