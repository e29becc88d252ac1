/*
 * Compression over zstd; see zip.h.
 *
 * Knows how one piece becomes one frame and back, and what is not worth the try. Does not know how
 * content is cut into pieces, nor which pieces travel packed.
 */
#include "tree/content/zip.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"

enum { SAMPLE = 4096, SAMPLE_LEVEL = 1 };

struct zip {
    int level;
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
};

struct zip *zip_new(int level)
{
    struct zip *z = mem_alloc(sizeof *z);
    z->level = level;
    z->pack = ZSTD_createCCtx();
    z->unpack = ZSTD_createDCtx();
    if (!z->pack || !z->unpack)
        abort(); /* their buffers come later, on use: small, and the policy of mem.h */
    return z;
}

void zip_free(struct zip *z)
{
    if (!z)
        return;
    ZSTD_freeCCtx(z->pack);
    ZSTD_freeDCtx(z->unpack);
    free(z);
}

/* Gives zstd no more room than a result that is worth sending needs, so that it stops early. */
static size_t pack(struct zip *z, int level, const void *in, size_t n, void *out, size_t cap)
{
    size_t limit = n - n / 8;
    if (limit == 0)
        return 0;
    size_t room = cap < limit - 1 ? cap : limit - 1;
    size_t length = ZSTD_compressCCtx(z->pack, out, room, in, n, level);
    return ZSTD_isError(length) ? 0 : length;
}

size_t zip_pack(struct zip *z, const void *in, size_t n, void *out, size_t cap)
{
    return pack(z, z->level, in, n, out, cap);
}

bool zip_is_packed(const void *in, size_t n)
{
    const uint8_t *p = in;
    static const struct {
        uint8_t at, len;
        char bytes[7];
    } magic[] = {
        {0, 3, "\xff\xd8\xff"},       /* JPEG */
        {0, 4, "\x89PNG"},            /* PNG */
        {0, 4, "GIF8"},               /* GIF */
        {8, 4, "WEBP"},               /* in RIFF */
        {4, 4, "ftyp"},               /* MP4, MOV, HEIC, AVIF */
        {0, 3, "ID3"},                /* MP3 */
        {0, 4, "OggS"},               /* Ogg */
        {0, 4, "fLaC"},               /* FLAC */
        {0, 4, "\x1a\x45\xdf\xa3"},   /* WebM, Matroska */
        {0, 4, "wOFF"},               /* WOFF */
        {0, 4, "wOF2"},               /* WOFF2 */
        {0, 4, "PK\x03\x04"},         /* zip and what is built on it */
        {0, 3, "\x1f\x8b\x08"},       /* gzip */
        {0, 3, "BZh"},                /* bzip2 */
        {0, 5, "\xfd\x37zXZ"},        /* xz */
        {0, 4, "\x28\xb5\x2f\xfd"},   /* zstd */
        {0, 6, "7z\xbc\xaf\x27\x1c"}, /* 7z */
        {0, 4, "Rar!"},               /* RAR */
    };
    for (size_t i = 0; i < sizeof magic / sizeof magic[0]; i++)
        if (n >= (size_t)magic[i].at + magic[i].len &&
            memcmp(p + magic[i].at, magic[i].bytes, magic[i].len) == 0)
            return true;
    return false;
}

bool zip_worthwhile(struct zip *z, const void *in, size_t n)
{
    if (zip_is_packed(in, n))
        return false;
    char trial[SAMPLE];
    return pack(z, SAMPLE_LEVEL, in, n < SAMPLE ? n : SAMPLE, trial, sizeof trial) > 0;
}

/* Older and skippable frames have other magic numbers; zstd would take them. */
static bool is_frame(const void *in, size_t len)
{
    return len >= 4 && memcmp(in, "\x28\xb5\x2f\xfd", 4) == 0;
}

int zip_unpack(
    struct zip *z, const void *in, size_t len, void *out, size_t cap, size_t *n, struct err *err)
{
    if (!is_frame(in, len) || ZSTD_findFrameCompressedSize(in, len) != len)
        return err_set(err, ERR_FAILED, "unpack: not one zstd frame");
    unsigned long long plain = ZSTD_getFrameContentSize(in, len);
    if (plain == ZSTD_CONTENTSIZE_UNKNOWN || plain == ZSTD_CONTENTSIZE_ERROR)
        return err_set(err, ERR_FAILED, "unpack: the frame does not say its size");
    if (plain > cap)
        return err_set(
            err, ERR_FAILED, "unpack: %llu bytes, but at most %zu are allowed", plain, cap);
    size_t got = ZSTD_decompressDCtx(z->unpack, out, cap, in, len);
    if (ZSTD_isError(got))
        return err_set(err, ERR_FAILED, "unpack: %s", ZSTD_getErrorName(got));
    *n = got;
    return 0;
}
