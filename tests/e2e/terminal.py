"""A command at a terminal where somebody types."""

import fcntl
import os
import pty
import re
import select
import termios
import time

from harness import SLOW, Result, check

CTRL_C, CTRL_D = b"\x03", b"\x04"


def own(fd):
    """The process leads a session of its own and has this terminal: so Ctrl-C reaches it."""
    def prepare():
        os.setsid()
        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    return prepare


def type_at(env, argv, answers, code=0, seconds=120, shown=None):
    """Each answer is (a pattern that is waited for, what is typed then): a line, or a key's bytes."""
    ours, theirs = pty.openpty()
    p = env.spawn(argv, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own(theirs))
    os.close(theirs)
    text, looked, todo = "", 0, list(answers)
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:  # nobody has the other side any more
            break
        text += data.decode(errors="replace").replace("\r", "")
        found = todo and re.search(todo[0][0], text[looked:], re.S)
        if found:
            looked += found.end()
            typed = todo.pop(0)[1]
            os.write(ours, typed if isinstance(typed, bytes) else typed.encode() + b"\n")
    else:
        p.kill()
        text += f"\n[killed after {seconds * SLOW} s]"
    got = p.wait()
    os.close(ours)
    r = Result(shown or argv, got, text.encode(), b"")
    check(got == code and not todo, f"exit {got} instead of {code}, not asked: {todo}\n{r}")
    return r
