"""A program that was built without -Dfaults=true has no trace of fault points. Usage: PROGRAM"""

import sys

with open(sys.argv[1], "rb") as f:
    program = f.read()
words = (b"MIRRORD_FAULT", b"MIRRORD_BOOT_ID", b"MIRRORD_UNCONFINED", b"MIRRORD_SANDBOX", b"MIRRORD_SLOW")
found = [word for word in words if word in program]
if b"mirrord.conf" not in program or found:
    sys.exit(f"{sys.argv[1]}: {found or 'is not mirrord'}")
print("no trace of fault points")
