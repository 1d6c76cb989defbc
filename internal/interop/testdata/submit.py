"""Submits standard input by smtplib: submit.py PORT FROM TO[,TO]."""
import smtplib
import sys

with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as server:
    server.sendmail(sys.argv[2], sys.argv[3].split(","), sys.stdin.buffer.read())
