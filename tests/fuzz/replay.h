/*
 * What every fuzzer has: the entry point that libFuzzer calls, and a way to stop when something is
 * wrong. replay.c adds a main that feeds it the files of a corpus.
 */
#ifndef FUZZ_REPLAY_H
#define FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts in every build type: libFuzzer saves the input, the test run fails. */
#define FUZZ_REQUIRE(condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#endif
