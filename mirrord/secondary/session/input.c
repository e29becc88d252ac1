/* The receiver's input; see input.h. */
#include "secondary/session/input.h"

#include <errno.h>
#include <unistd.h>

#include "base/io.h"

enum { READ_SIZE = 256 * 1024 };

void input_free(struct input *in)
{
    buf_free(&in->bytes);
}

int input_next(const struct input *in, struct frame *f, struct err *err)
{
    int n = frame_next(buf_bytes(&in->bytes), buf_len(&in->bytes), f);
    return n < 0 ? err_set(err, ERR_FAILED, "a frame of a length that is not allowed") : n;
}

void input_drain(struct input *in, int length)
{
    buf_drain(&in->bytes, (size_t)length);
    in->whole = true;
}

int input_read(struct input *in, struct err *err)
{
    ssize_t n = read(in->fd, buf_room(&in->bytes, READ_SIZE), READ_SIZE);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n < 0)
        return err_sys(err, errno, "read from the other end");
    if (n == 0 && buf_len(&in->bytes))
        return err_set(err, ERR_FAILED, "the stream ended within a message");
    if (n == 0)
        return INPUT_ENDED;
    buf_fill(&in->bytes, (size_t)n);
    in->heard_us = io_now_us();
    in->heard_ms = in->heard_us / 1000;
    return 0;
}

int input_check(struct input *in, struct err *err)
{
    bool anew = in->whole || buf_len(&in->bytes) == 0;
    uint64_t ms = crawl_look(&in->crawl, anew, io_now_ms());
    in->whole = false;
    if (ms < in->crawl_ms)
        return 0;
    return err_set(err, ERR_FAILED, "a message has been coming for %u seconds and is not whole",
        (unsigned)(ms / 1000));
}

int input_check_silence(const struct input *in, struct err *err)
{
    if (io_now_ms() - in->heard_ms < in->silence_ms)
        return 0;
    return err_set(
        err, ERR_FAILED, "nothing was heard for %u seconds", (unsigned)(in->silence_ms / 1000));
}

int input_wait_ms(const struct input *in)
{
    uint64_t silent = io_now_ms() - in->heard_ms;
    int left = silent < in->silence_ms ? (int)(in->silence_ms - silent) : 0;
    return buf_len(&in->bytes) && left > CRAWL_GAP_MS ? CRAWL_GAP_MS : left;
}
