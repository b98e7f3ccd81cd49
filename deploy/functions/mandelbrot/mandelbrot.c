/* mandelbrot: renders a tile of the Mandelbrot set.

   Parameters come in the query (`?x=-0.75&y=0.1&zoom=50`) or, without one, in a flat JSON object as
   the body; each may be left out:
     x, y           the tile's centre                           -0.5, 0
     zoom           the tile is 4 / zoom wide, 1e-3 to 1e13     1
     width, height  in pixels, 1 to 4096                        256, 256
     iterations     before a point counts as inside, 1 to 65536 256
     format         png or ppm                                  png
   Anything else ends with status 1 and a message. The same parameters give the same bytes. */
#include <stdint.h>

#include "../sample.h"
#include "png.h"

static double x = -0.5, y, zoom = 1, width = 256, height = 256, iterations = 256;
static int ppm;

static char text[8192];
static unsigned char row[4096 + 1];

static void set_format(const char *value, size_t size) {
    if (size == 3 && memcmp(value, "ppm", 3) == 0) ppm = 1;
    else if (size == 3 && memcmp(value, "png", 3) == 0) ppm = 0;
    else complain("format must be png or ppm");
}

static double in_range(double value, double least, double most, int whole, const char *what) {
    if (!(value >= least && value <= most) || (whole && value != (double)(long)value)) complain(what);
    return value;
}

/* One parameter; `value` ends at a character that no number has. */
static void set(const char *name, size_t name_size, const char *value, size_t value_size) {
#define IS(what) (name_size == sizeof what - 1 && memcmp(name, what, name_size) == 0)
    if (IS("format")) {
        set_format(value, value_size);
        return;
    }
    char *end;
    double number = strtod(value, &end);
    if (value_size == 0 || end != value + value_size) complain("a parameter is not a number");
    if (IS("x")) x = in_range(number, -1e3, 1e3, 0, "x must be -1000 to 1000");
    else if (IS("y")) y = in_range(number, -1e3, 1e3, 0, "y must be -1000 to 1000");
    else if (IS("zoom")) zoom = in_range(number, 1e-3, 1e13, 0, "zoom must be 1e-3 to 1e13");
    else if (IS("width")) width = in_range(number, 1, 4096, 1, "width must be 1 to 4096");
    else if (IS("height")) height = in_range(number, 1, 4096, 1, "height must be 1 to 4096");
    else if (IS("iterations"))
        iterations = in_range(number, 1, 65536, 1, "iterations must be 1 to 65536");
    else complain("unknown parameter: x, y, zoom, width, height, iterations and format are known");
#undef IS
}

static void read_query(char *query) {
    for (char *at = query; at && *at;) {
        char *next = strchr(at, '&'), *equals = strchr(at, '=');
        if (!equals || (next && equals > next)) complain("the query must be name=value&...");
        char *end = next ? next : at + strlen(at);
        set(at, (size_t)(equals - at), equals + 1, (size_t)(end - equals - 1));
        at = next ? next + 1 : NULL;
    }
}

static const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
    return at;
}

/* From the quote to the one that ends the string; there are no escapes in our parameters. */
static const char *string_end(const char *at) {
    const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
    if (!end) complain("the body must be a flat JSON object");
    return end;
}

static void read_json(const char *at) {
    at = skip_space(at);
    if (*at == 0) return;
    if (*at != '{') complain("the body must be a flat JSON object");
    at = skip_space(at + 1);
    while (*at != '}') {
        const char *name = at + 1, *name_end = string_end(at);
        at = skip_space(name_end + 1);
        if (*at != ':') complain("the body must be a flat JSON object");
        at = skip_space(at + 1);
        const char *value = at, *value_end;
        if (*at == '"') {
            value++;
            value_end = string_end(at);
            at = value_end + 1;
        } else {
            while (*at && !strchr(",} \n\r\t", *at)) at++;
            value_end = at;
        }
        set(name, (size_t)(name_end - name), value, (size_t)(value_end - value));
        at = skip_space(at);
        if (*at == ',') at = skip_space(at + 1);
        else if (*at != '}') complain("the body must be a flat JSON object");
    }
    if (*skip_space(at + 1)) complain("there is something after the JSON object");
}

/* The colour's number: 0 inside, else 1 to 255 by the iterations it took to escape. */
static unsigned char colour(double cx, double cy) {
    double zx = 0, zy = 0;
    for (uint32_t n = 0; n < (uint32_t)iterations; n++) {
        double xx = zx * zx, yy = zy * zy;
        if (xx + yy > 4) return (unsigned char)(1 + n % 255);
        zy = 2 * zx * zy + cy;
        zx = xx - yy + cx;
    }
    return 0;
}

static void palette(unsigned char colours[256][3]) {
    for (int i = 1; i < 256; i++) {
        int phase = i * 3 % 256;
        colours[i][0] = (unsigned char)(i < 86 ? i * 3 : 255 - phase / 2);
        colours[i][1] = (unsigned char)(phase < 128 ? phase * 2 : 510 - phase * 2);
        colours[i][2] = (unsigned char)(255 - i / 2);
    }
}

static void write_ppm(const unsigned char colours[256][3], uint32_t w) {
    static unsigned char pixels[4096 * 3];
    for (uint32_t i = 0; i < w; i++) memcpy(pixels + 3 * i, colours[row[1 + i]], 3);
    put(pixels, (size_t)w * 3);
}

static void put_decimal(uint32_t n) {
    char digits[12];
    int at = sizeof digits;
    do digits[--at] = (char)('0' + n % 10); while (n /= 10);
    put(digits + at, sizeof digits - (size_t)at);
}

int main(void) {
    static unsigned char colours[256][3];
    char *query = getenv("Http_Query");
    if (query && *query) {
        read_query(query);
    } else {
        text[read_all(text, sizeof text - 1)] = 0;
        read_json(text);
    }
    uint32_t w = (uint32_t)width, h = (uint32_t)height;
    double step = 4 / zoom / width;
    palette(colours);
    if (cgi()) put_text(ppm ? "Content-Type: image/x-portable-pixmap\n\n" : "Content-Type: image/png\n\n");
    if (ppm) {
        put_text("P6\n");
        put_decimal(w);
        put_text(" ");
        put_decimal(h);
        put_text("\n255\n");
    } else {
        png_begin(w, h, colours);
    }
    for (uint32_t j = 0; j < h; j++) {
        double cy = y - (j + 0.5 - height / 2) * step;
        for (uint32_t i = 0; i < w; i++) row[1 + i] = colour(x + (i + 0.5 - width / 2) * step, cy);
        if (ppm) write_ppm(colours, w);
        else png_row(row, w + 1);
    }
    if (!ppm) png_end();
    return 0;
}
