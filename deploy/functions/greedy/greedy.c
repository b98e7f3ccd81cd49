/* greedy: takes memory a MiB at a time and writes to each page of it, until there is no more; then
   it says how much it got and ends with status 1. */
#include "../sample.h"

#define STEP_PAGES 16
#define PAGE_BYTES 65536

int main(void) {
    for (;;) {
        size_t before = __builtin_wasm_memory_grow(0, STEP_PAGES);
        if (before == (size_t)-1) break;
        volatile char *from = (volatile char *)(before * PAGE_BYTES);
        for (size_t i = 0; i < STEP_PAGES * (size_t)PAGE_BYTES; i += 4096) from[i] = 1;
    }
    put_number(__builtin_wasm_memory_size(0) * (unsigned long long)PAGE_BYTES);
    complain("no more memory");
}
