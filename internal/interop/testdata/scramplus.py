"""A submission server with one user, ann, and SCRAM-SHA-256-PLUS, for one session: TLS by openssl s_server, and
SCRAM by GNU SASL. The key that TLS exports, which the exchange is bound to, is the one that OpenSSL prints.

usage: scramplus.py PORT CERT KEY PASSWORD
"""
import base64
import ctypes
import subprocess
import sys

LABEL = "EXPORTER-Channel-Binding"
PASSWORD, ITER, CB_EXPORTER = 3, 15, 25  # numbers of the properties in gsasl.h
OK, NEEDS_MORE = 0, 1

port, cert, key, password = sys.argv[1:]
gsasl = ctypes.CDLL("libgsasl.so.18")
gsasl.gsasl_strerror_name.restype = ctypes.c_char_p
tls = subprocess.Popen(
    ["openssl", "s_server", "-accept", "127.0.0.1:" + port, "-cert", cert, "-key", key, "-naccept", "1",
     "-keymatexport", LABEL, "-keymatexportlen", "32"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr)


def hear():
    line = tls.stdout.readline()
    if not line:
        sys.exit("the client has gone")
    return line.decode("latin1").rstrip("\r\n")


def say(line):
    tls.stdin.write(line.encode() + b"\r\n")
    tls.stdin.flush()


exported = None
while exported is None:
    name, _, value = hear().strip().partition(": ")
    if name == "Keying material":
        exported = base64.b64encode(bytes.fromhex(value))
say("220 plus.test")
while not hear().startswith("EHLO "):
    pass  # what else s_server prints
say("250-plus.test\r\n250 AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN")

context, session, out = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
gsasl.gsasl_init(ctypes.byref(context))
verb, mechanism, message = hear().split(" ")
code = gsasl.gsasl_server_start(context, mechanism.encode(), ctypes.byref(session))
if code != OK:
    sys.exit("start: %s" % gsasl.gsasl_strerror_name(code).decode())
for number, value in ((PASSWORD, password.encode()), (ITER, b"4096"), (CB_EXPORTER, exported)):
    gsasl.gsasl_property_set(session, number, ctypes.c_char_p(value))
while True:
    code = gsasl.gsasl_step64(session, message.encode(), ctypes.byref(out))
    if code not in (OK, NEEDS_MORE):
        say("535 5.7.8 %s" % gsasl.gsasl_strerror_name(code).decode())
        break
    challenge = ctypes.string_at(out).decode()
    if code == NEEDS_MORE or challenge:
        say("334 " + challenge)
        message = hear()
    if code == OK:
        say("235 2.7.0 " + mechanism)
        break
while (line := hear()) != "QUIT":
    if line == "DATA":
        say("354 go on")
        while hear() != ".":
            pass
    say("250 2.0.0 ok")
say("221 2.0.0 bye")
tls.stdin.close()
tls.wait()
