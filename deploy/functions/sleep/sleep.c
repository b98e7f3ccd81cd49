/* sleep: waits as many milliseconds as the body says in decimal (at most a day), inside the guest,
   and answers that number and a newline. */
#include <time.h>

#include "../sample.h"

static char body[64];

int main(void) {
    size_t size = read_all(body, sizeof body);
    unsigned long long ms = 0;
    size_t at = 0;
    while (at < size && body[at] == ' ') at++;
    size_t first = at;
    while (at < size && at - first < 9 && body[at] >= '0' && body[at] <= '9')
        ms = ms * 10 + (unsigned)(body[at++] - '0');
    int digits = at > first;
    while (at < size && (body[at] == ' ' || body[at] == '\n' || body[at] == '\r')) at++;
    if (!digits || at != size || ms > 86400000)
        complain("the body must be milliseconds in decimal, at most 86400000");
    struct timespec wait = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    if (nanosleep(&wait, NULL) != 0) complain("cannot sleep");
    if (cgi()) put_text("Content-Type: text/plain; charset=utf-8\n\n");
    put_number(ms);
    return 0;
}
