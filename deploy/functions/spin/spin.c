/* spin: never ends, and never asks the host for anything. */
int main(void) {
    for (volatile unsigned n = 0;; n++) {
    }
}
