#!/bin/sh
# Rebuilds the sample functions bit for bit: build.sh [--check] [NAME...]
#
# --check builds elsewhere and compares with the modules that are here. The compiler is Zig's C
# compiler at a fixed version, installed from Python's package index into a directory that is
# removed at the end; python3 with venv is all that is needed.
set -eu

ZIG_VERSION=0.17.1
here=$(cd "$(dirname "$0")" && pwd)

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
[ $# -gt 0 ] || set -- echo words mandelbrot fail spin greedy sleep

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ziglang==$ZIG_VERSION"
export ZIG_GLOBAL_CACHE_DIR="$work/cache" ZIG_LOCAL_CACHE_DIR="$work/cache"

# Sources are copied and named by relative paths, so that the place of the checkout leaves no trace.
cp -R "$here" "$work/source"
for name in "$@"; do
    (
        cd "$work/source/$name"
        rm -f "$name.wasm"
        # A small stack keeps an instance small: the samples' buffers are static.
        "$work/venv/bin/python" -m ziglang cc -target wasm32-wasi -mcpu=generic -std=gnu11 \
            -Wall -Wextra -Werror -O2 -s -Wl,-z,stack-size=65536 -o "$name.wasm" "$name.c"
        sha256sum "$name.wasm" > "$name.wasm.sha256"
    )
    if [ $check = yes ]; then
        cmp "$work/source/$name/$name.wasm" "$here/$name/$name.wasm"
        (cd "$here/$name" && sha256sum --check --quiet "$name.wasm.sha256")
        echo "$name: the same"
    else
        chmod 644 "$work/source/$name/$name.wasm"
        cp "$work/source/$name/$name.wasm" "$work/source/$name/$name.wasm.sha256" "$here/$name/"
        echo "$name: $(wc -c < "$here/$name/$name.wasm") bytes"
    fi
done
