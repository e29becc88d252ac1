/*
 * Decodes a message of any type and encodes it again. The codec has one encoding for each message,
 * so what a decoder accepts must come back byte for byte; fuzzers and unit tests rely on it.
 */
#ifndef FUZZ_AGAIN_H
#define FUZZ_AGAIN_H

#include "protocol/msg.h"

/* False when the payload is no valid message of this type, or the type is unknown. Else the
 * message is appended to w as one frame. */
bool again_message(uint8_t type, struct bytes payload, struct wire_writer *w);

#endif
