/* fail: fails, by its own decision.

   By default it writes a line to standard output and one to standard error and ends with status 1
   (`?exit=N`: with status N, 1 to 255), which its caller sees as 500. With `?status=N` (400 to 599)
   and the annotation `peerless.output: cgi` it answers that status, and ends well. */
#include "../sample.h"

static int number_in(const char *value, int least, int most, const char *what) {
    int n = 0, digits = 0;
    while (*value >= '0' && *value <= '9' && digits++ < 4) n = n * 10 + (*value++ - '0');
    if (!digits || (*value && *value != '&') || n < least || n > most) complain(what);
    return n;
}

int main(void) {
    const char *status = query_value("status"), *exit_status = query_value("exit");
    if (status && cgi()) {
        int n = number_in(status, 400, 599, "status must be 400 to 599");
        put_text("Status: ");
        put_number((unsigned)n);
        put_text("Content-Type: text/plain; charset=utf-8\n\nthis function fails with status ");
        put_number((unsigned)n);
        return 0;
    }
    int n = exit_status ? number_in(exit_status, 1, 255, "exit must be 1 to 255") : 1;
    if (cgi()) put_text("Content-Type: text/plain; charset=utf-8\n\n");
    put_text("this function fails\n");
    write(2, "on purpose\n", 11);
    return n;
}
