"""An aiosmtpd that keeps each mail in a file: sink.py PORT DIRECTORY [TLS-PORT CERTIFICATE KEY].

With a certificate it offers STARTTLS and, under TLS, AUTH at PORT; at TLS-PORT TLS begins at once. It puts a Received line
on top of what it keeps. It refuses recipients whose name begins with "nobody", senders whose name begins with "refused",
mails that begin with a field "X-Refuse", and, at first, recipients whose name begins with "grey".
"""
import itertools
import os
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

number = itertools.count()
greylisted = set()


class Keep:
    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            return "550 5.7.1 sender refused"
        envelope.mail_from = address
        return "250 2.1.0 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        if address.startswith("grey") and address not in greylisted:
            greylisted.add(address)
            return "450 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        if envelope.original_content.startswith(b"X-Refuse:"):
            return "554 5.6.0 content refused"
        with_ = ("UTF8SMTP" if envelope.smtp_utf8 else "ESMTP") + ("S" if server.transport.get_extra_info("sslcontext") else "") + ("A" if session.authenticated else "")
        received = "Received: by aiosmtpd.test with %s\r\n\tfor %s\r\n" % (with_, ",".join(envelope.rcpt_tos))
        name = os.path.join(sys.argv[2], "%d" % next(number))
        with open(name + ".tmp", "wb") as f:
            f.write(received.encode() + envelope.original_content)
        os.rename(name + ".tmp", name + ".eml")
        return "250 2.0.0 kept"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"ann", b"secret"))


options = dict(hostname="127.0.0.1", data_size_limit=10 << 20, decode_data=False, enable_SMTPUTF8=True, authenticator=authenticate)
if len(sys.argv) > 3:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*sys.argv[4:])
    Controller(Keep(), port=int(sys.argv[1]), tls_context=tls, **options).start()
    Controller(Keep(), port=int(sys.argv[3]), ssl_context=tls, **options).start()
else:
    Controller(Keep(), port=int(sys.argv[1]), **options).start()
print("ready", flush=True)
sys.stdin.read()
