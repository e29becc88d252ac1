"""Trees to measure with, the same for the same arguments. Text is like PHP and compresses about 4:1 with
zstd; pictures do not compress. Nothing here is random from run to run.
"""

import os
import random
import time

WORDS = ("get_option post_type array_key_exists is_admin wp_enqueue_script esc_html__ add_action the_content "
         "sanitize_text_field current_user_can WP_Query register_post_type do_action apply_filters return "
         "function public private static protected isset empty foreach else elseif null true false array string "
         "$this $args $post $query $result $options $value $key $settings $request").split()
POOL = 16 << 20
SLICE_MAX = 256 << 10


def text_pool(seed=1, size=POOL):
    """Lines of code; every fourth word or so is one of its own, as names and numbers are."""
    rng, out, n = random.Random(seed), [], 0
    while n < size:
        words = rng.choices(WORDS, k=4000)
        own = rng.randbytes(8000).hex()
        at = 0
        for i in range(0, len(words), 5):
            w = words[i:i + 5]
            line = f"{'    ' * (1 + i % 3)}{w[0]}( '{own[at:at + 12]}', {w[1]} );  // {w[2]} {w[3]} {w[4]}\n"
            at += 12
            out.append(line)
            n += len(line)
    return "".join(out).encode()[:size]


class Grove:
    """Makes files beneath a root. `time` is given to all of them, well in the past."""

    def __init__(self, root, seed=1):
        self.root, self.rng = root, random.Random(seed)
        self.time = (int(time.time()) - 86400) * 10**9
        self.count = 0
        self.pool = None
        os.makedirs(root, exist_ok=True)

    def text(self, size):
        if self.pool is None:
            self.pool = text_pool()
        at = self.rng.randrange(len(self.pool) - SLICE_MAX)
        return (b"<?php // %d\n" % self.count + self.pool[at:at + size])[:size]

    def put(self, path, data):
        fd = os.open(f"{self.root}/{path}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        os.utime(f"{self.root}/{path}", ns=(self.time, self.time))
        self.count += 1

    def finish(self):
        for directory, _, _ in os.walk(self.root, topdown=False):
            os.utime(directory, ns=(self.time, self.time))

    def small_files(self, files, per_directory=100, size_max=16384):
        """Sizes from 0 to size_max, mostly small: 3.47 KB in the mean for 16 KB."""
        paths = []
        for n in range(files):
            d = n // per_directory
            directory = f"part-{d // 50:03d}/dir-{d:05d}"
            if n % per_directory == 0:
                os.makedirs(f"{self.root}/{directory}", exist_ok=True)
            path = f"{directory}/file-{n:07d}.php"
            size = int(size_max * self.rng.random() ** 3.72) if size_max else 0
            self.put(path, self.text(size))
            paths.append(path)
        self.finish()
        return paths

    def wordpress(self, scale=1.0):
        """20,900 files of 724 MB: 14,000 of text, 120 MB, and 6,900 pictures, 604 MB."""
        for n in range(int(14000 * scale)):
            directory = f"wp-content/plugins/plugin-{n // 400:02d}/{('src', 'includes', 'assets/js', 'admin')[n % 4]}"
            os.makedirs(f"{self.root}/{directory}", exist_ok=True)
            self.put(f"{directory}/class-{n}.php", self.text(int(34000 * self.rng.random() ** 2.97)))
        for n in range(int(6900 * scale)):
            directory = f"wp-content/uploads/20{15 + n // 1200 % 10:02d}/{1 + n // 100 % 12:02d}"
            os.makedirs(f"{self.root}/{directory}", exist_ok=True)
            self.put(f"{directory}/picture-{n}.jpg", self.rng.randbytes(int(175000 * self.rng.random() + 100)))
        self.finish()

    def directories(self, count):
        """Empty directories, 100 in each of their parents."""
        for n in range(count):
            os.makedirs(f"{self.root}/group-{n // 100:05d}/dir-{n:06d}", exist_ok=True)
        self.finish()

    def big(self, path, size):
        """One file that does not compress."""
        with open(f"{self.root}/{path}", "wb") as f:
            for _ in range(0, size, 16 << 20):
                f.write(self.rng.randbytes(min(16 << 20, size)))
        os.utime(f"{self.root}/{path}", ns=(self.time, self.time))
