"""Submits standard input by smtplib, over TLS: submit_users.py PORT starttls|tls PASSWORD FROM TO"""
import smtplib
import ssl
import sys

port, how, password, sender, to = sys.argv[1:]
context = ssl._create_unverified_context()
if how == "tls":
    server = smtplib.SMTP_SSL("127.0.0.1", int(port), context=context)
else:
    server = smtplib.SMTP("127.0.0.1", int(port))
    server.starttls(context=context)
with server:
    server.login("ann", password)
    options = ["BODY=8BITMIME"] + (["SMTPUTF8"] if not to.isascii() else [])
    server.sendmail(sender, to, sys.stdin.buffer.read().replace(b"\n", b"\r\n"), mail_options=options)
