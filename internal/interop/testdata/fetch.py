"""Fetches the mails of mailboxes by IMAP and POP3: fetch.py HOST IMAP-PORT POP3-PORT PASSWORD DIRECTORY USER..."""
import imaplib
import os
import poplib
import sys

host, imap_port, pop_port, password, directory, *users = sys.argv[1:]


def by_imap(user):
    imap = imaplib.IMAP4(host, int(imap_port))
    imap.login(user, password)
    imap.select("INBOX", readonly=True)
    numbers = imap.search(None, "ALL")[1][0].split()
    mails = [imap.fetch(n, "(RFC822)")[1][0][1] for n in numbers]
    imap.logout()
    return mails


def by_pop3(user):
    pop = poplib.POP3(host, int(pop_port))
    pop.user(user)
    pop.pass_(password)
    mails = [b"\r\n".join(pop.retr(i + 1)[1]) + b"\r\n" for i in range(pop.stat()[0])]
    pop.quit()
    return mails


for user in users:
    for kind, mails in (("imap", by_imap(user)), ("pop3", by_pop3(user))):
        for i, mail in enumerate(mails):
            with open(os.path.join(directory, "%s.%d.%s" % (kind, i, user)), "wb") as f:
                f.write(mail)
