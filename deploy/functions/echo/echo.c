/* echo: answers the body unchanged, of any size, as it comes in.

   With the annotation `peerless.output: cgi` it also answers what it was asked: X-Echo-Method,
   X-Echo-Path, X-Echo-Query, an X-Echo-Header-NAME for each request header, and the request's
   Content-Type. */
#include "../sample.h"

extern char **environ;

static char block[PIECE_BYTES];
static size_t used;
static char piece[PIECE_BYTES];

/* Drops control characters, so that no value can add a header of its own. */
static void add(const char *text, size_t size) {
    for (size_t i = 0; i < size && used < sizeof block - 256; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c >= 32 && c != 127) || c == '\t') block[used++] = (char)c;
    }
}

static void end_line(void) { block[used++] = '\n'; }

static void add_field(const char *name, const char *value) {
    if (!value) return;
    add(name, strlen(name));
    add(": ", 2);
    add(value, strlen(value));
    end_line();
}

/* `x_forwarded_for` as X-Forwarded-For. */
static void add_header_name(const char *name, size_t size) {
    int first = 1;
    for (size_t i = 0; i < size; i++) {
        char c = name[i] == '_' ? '-' : name[i];
        if (first && c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
        if (!first && c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        first = c == '-';
        add(&c, 1);
    }
}

/* Whether the variable is no header: Method, Path, Query and the old spelling of Content-Length. */
static int is_own(const char *name, size_t size) {
    static const char *const own[] = {"Method", "Path", "Query", "ContentLength"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strlen(own[i]) == size && memcmp(own[i], name, size) == 0) return 1;
    return 0;
}

static void add_headers(void) {
    for (char **at = environ; *at; at++) {
        const char *name = *at + 5, *value = strchr(*at, '=');
        if (strncmp(*at, "Http_", 5) != 0 || !value || value < name) continue;
        size_t size = (size_t)(value - name);
        if (is_own(name, size)) continue;
        /* Unknown, not a header that was sent. */
        if (strncmp(*at, "Http_Content_Length=-1", 22) == 0) continue;
        add("X-Echo-Header-", 14);
        add_header_name(name, size);
        add(": ", 2);
        add(value + 1, strlen(value + 1));
        end_line();
    }
}

int main(void) {
    if (cgi()) {
        const char *type = getenv("Http_Content_Type");
        add_field("Content-Type", type ? type : "application/octet-stream");
        add_field("X-Echo-Method", getenv("Http_Method"));
        add_field("X-Echo-Path", getenv("Http_Path"));
        add_field("X-Echo-Query", getenv("Http_Query"));
        add_headers();
        end_line();
        put(block, used);
    }
    for (;;) {
        ssize_t n = read(0, piece, sizeof piece);
        if (n < 0) return 1;
        if (n == 0) return 0;
        put(piece, (size_t)n);
    }
}
