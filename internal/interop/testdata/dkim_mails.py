"""Signs and verifies mails by dkimpy: dkim_mails.py DIRECTORY sign|verify|all.

The directory has the zone "keys" (lines of a name, a space and the record), the private keys "rsa" and "ed25519", and
the mail "unsigned". "sign" writes a file ALGORITHM-HEADER-BODY for each canonical form. "verify" reads mails in
"mails", each after a line with its size, and writes a line for each: "good" if one of its signatures is, "broken", or
"unread" if dkimpy knows no such header. For "all", all of its signatures must be good, and it must have one.
"""
import os
import sys

import dkim

directory, job = sys.argv[1:]


def read(name):
    with open(os.path.join(directory, name), "rb") as f:
        return f.read()


records = dict(line.split(b" ", 1) for line in read("keys").splitlines())


def lookup(name, timeout=5):
    return records.get(name.rstrip(b".").lower())


def sign():
    for algorithm in (b"rsa", b"ed25519"):
        for form in ((b"simple", b"simple"), (b"relaxed", b"simple"), (b"relaxed", b"relaxed")):
            signature = dkim.sign(
                read("unsigned"), algorithm, b"source.test", read(algorithm.decode()), canonicalize=form,
                signature_algorithm=algorithm + b"-sha256", include_headers=[b"from", b"to", b"subject", b"from"])
            with open(os.path.join(directory, b"-".join((algorithm,) + form).decode()), "wb") as f:
                f.write(signature + read("unsigned"))


def good(message, i):
    try:
        return message.verify(idx=i, dnsfunc=lookup)
    except (dkim.DKIMException, ValueError, LookupError, TypeError):  # it has no error of its own for each fault
        return False


def verdict(mail, enough):
    try:
        message = dkim.DKIM(mail)
    except (dkim.MessageFormatError, IndexError):
        return "unread"
    signatures = [name for name, _ in message.headers if name.lower() == b"dkim-signature"]
    return "good" if signatures and enough(good(message, i) for i in range(len(signatures))) else "broken"


def verify(enough=any):
    with open(os.path.join(directory, "mails"), "rb") as mails:
        while size := mails.readline():
            print(verdict(mails.read(int(size)), enough))


{"sign": sign, "verify": verify, "all": lambda: verify(all)}[job]()
