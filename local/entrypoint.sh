#!/bin/sh
# The image's entry point: `demo` is the laptop stack, all else a command of ops-anomaly.
if [ "$1" = demo ]; then
    shift
    exec python -m local demo --host 0.0.0.0 "$@"
fi
exec python -m commands "$@"
