/* A PNG of 256 colours, written as its rows come: deflate with the fixed codes, where the only
   repetition looked for is that of the byte before, which suits flat areas and needs no window. */
#ifndef PNG_H
#define PNG_H

#include <stdint.h>

#include "../sample.h"

static uint32_t png_crc_table[256];
static uint32_t png_adler_a = 1, png_adler_b;
/* One IDAT chunk under way: four bytes for its type, then data. */
static unsigned char png_data[4 + 32768];
static size_t png_used;
static uint32_t png_bits, png_bit_count;

static void png_u32(unsigned char *to, uint32_t n) {
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(n >> (24 - 8 * i));
}

static uint32_t png_crc(const unsigned char *bytes, size_t size) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < size; i++) crc = png_crc_table[(crc ^ bytes[i]) & 255] ^ (crc >> 8);
    return ~crc;
}

/* `type_and_data` begins with the chunk's four letters; `size` is that of the data alone. */
static void png_chunk(const unsigned char *type_and_data, size_t size) {
    unsigned char number[4];
    png_u32(number, (uint32_t)size);
    put(number, 4);
    put(type_and_data, size + 4);
    png_u32(number, png_crc(type_and_data, size + 4));
    put(number, 4);
}

static void png_byte(uint32_t byte) {
    if (png_used == sizeof png_data) {
        png_chunk(png_data, png_used - 4);
        png_used = 4;
    }
    png_data[png_used++] = (unsigned char)byte;
}

static void png_put_bits(uint32_t bits, uint32_t count) {
    png_bits |= bits << png_bit_count;
    for (png_bit_count += count; png_bit_count >= 8; png_bit_count -= 8, png_bits >>= 8)
        png_byte(png_bits & 255);
}

/* Huffman codes go in with their highest bit first. */
static void png_code(uint32_t code, uint32_t count) {
    uint32_t turned = 0;
    for (uint32_t i = 0; i < count; i++) turned |= (code >> i & 1) << (count - 1 - i);
    png_put_bits(turned, count);
}

/* RFC 1951, 3.2.6: the fixed code of a literal or length symbol. */
static void png_symbol(uint32_t symbol) {
    if (symbol < 144) png_code(0x30 + symbol, 8);
    else if (symbol < 256) png_code(0x190 + symbol - 144, 9);
    else if (symbol < 280) png_code(symbol - 256, 7);
    else png_code(0xc0 + symbol - 280, 8);
}

/* Repeats the byte before `count` times, 3 to 258. */
static void png_repeat(uint32_t count) {
    static const uint16_t least[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                     31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    uint32_t i = sizeof least / sizeof *least - 1;
    while (least[i] > count) i--;
    png_symbol(257 + i);
    if (i >= 8 && i < 28) png_put_bits(count - least[i], (i - 4) / 4);
    png_put_bits(0, 5); /* distance 1 */
}

static void png_begin(uint32_t width, uint32_t height, const unsigned char colours[256][3]) {
    static unsigned char head[4 + 13] = "IHDR", plte[4 + 768] = "PLTE";
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >> 1) : c >> 1;
        png_crc_table[n] = c;
    }
    put("\x89PNG\r\n\x1a\n", 8);
    png_u32(head + 4, width);
    png_u32(head + 8, height);
    head[12] = 8; /* bits a pixel */
    head[13] = 3; /* by palette */
    png_chunk(head, 13);
    memcpy(plte + 4, colours, 768);
    png_chunk(plte, 768);
    memcpy(png_data, "IDAT", 4);
    png_used = 4;
    png_byte(0x78); /* zlib, window of 32 KiB */
    png_byte(0x01);
    png_put_bits(1, 1); /* the only block */
    png_put_bits(1, 2); /* with the fixed codes */
}

/* `bytes` begins with the row's filter, 0. Runs do not cross rows. */
static void png_row(const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < size;) {
        uint32_t run = 1;
        while (i + run < size && run < 259 && bytes[i + run] == bytes[i]) run++;
        png_symbol(bytes[i]);
        if (run >= 4) png_repeat(run - 1);
        else run = 1;
        for (uint32_t k = 0; k < run; k++) {
            png_adler_a = (png_adler_a + bytes[i]) % 65521;
            png_adler_b = (png_adler_b + png_adler_a) % 65521;
        }
        i += run;
    }
}

static void png_end(void) {
    unsigned char sum[4];
    png_symbol(256);
    if (png_bit_count) png_put_bits(0, 8 - png_bit_count);
    png_u32(sum, png_adler_b << 16 | png_adler_a);
    for (int i = 0; i < 4; i++) png_byte(sum[i]);
    png_chunk(png_data, png_used - 4);
    png_chunk((const unsigned char *)"IEND", 0);
}

#endif
