"""An aiosmtpd that keeps each mail in a file: sink.py PORT DIRECTORY. Refuses recipients whose name begins with "nobody"."""
import asyncio
import itertools
import os
import sys

from aiosmtpd.controller import Controller

number = itertools.count()


class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        name = os.path.join(sys.argv[2], "%d.%s" % (next(number), ",".join(envelope.rcpt_tos)))
        with open(name + ".tmp", "wb") as f:
            f.write(envelope.original_content)
        os.rename(name + ".tmp", name + ".eml")
        return "250 2.0.0 kept"


Controller(Keep(), hostname="127.0.0.1", port=int(sys.argv[1]), data_size_limit=64 << 20, decode_data=False).start()
print("ready", flush=True)
sys.stdin.read()
