"""Fetches the mails of a mailbox by IMAP and POP3: fetch.py HOST IMAP-PORT POP3-PORT USER PASSWORD DIRECTORY."""
import imaplib
import os
import poplib
import sys

host, imap_port, pop_port, user, password, directory = sys.argv[1:]
imap = imaplib.IMAP4(host, int(imap_port))
imap.login(user, password)
imap.select("INBOX", readonly=True)
numbers = imap.search(None, "ALL")[1][0].split()
by_imap = [imap.fetch(n, "(RFC822)")[1][0][1] for n in numbers]
imap.logout()
pop = poplib.POP3(host, int(pop_port))
pop.user(user)
pop.pass_(password)
by_pop = [b"\r\n".join(pop.retr(i + 1)[1]) + b"\r\n" for i in range(pop.stat()[0])]
pop.quit()
for kind, mails in (("imap", by_imap), ("pop3", by_pop)):
    for i, mail in enumerate(mails):
        with open(os.path.join(directory, "%s.%d.eml" % (kind, i)), "wb") as f:
            f.write(mail)
print(len(by_imap), len(by_pop))
