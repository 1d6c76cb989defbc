"""Reads the mails in a directory by Python's email: read_mails.py DIRECTORY. Prints a line of JSON for each, by name."""
import email
import email.policy
import hashlib
import json
import os
import sys

for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), "rb") as f:
        m = email.message_from_binary_file(f, policy=email.policy.default)
    leaves = []
    for part in m.walk():
        if part.is_multipart():
            continue
        body = part.get_payload(decode=True)
        if part.get_content_maintype() == "text" and not part.get_filename():
            body = part.get_content().replace("\r\n", "\n").encode()
        # Names of files are also in Content-Type, in a form for old programs that the RFCs forbid.
        defects = part.defects + [d for field, value in part.items() if field != "Content-Type" or not part.get_filename()
                                  for d in getattr(value, "defects", [])]
        leaves.append({
            "Kind": part.get_content_type(), "Name": part.get_filename() or "", "Method": part.get_param("method") or "",
            "ID": (part["Content-ID"] or "").strip("<>").split("@")[0], "Body": hashlib.sha256(body).hexdigest(),
            "Defects": " ".join(type(d).__name__ for d in defects),
        })
    addresses = {}
    for field in ("From", "To", "Cc", "Reply-To"):
        addresses[field] = [[a.display_name, a.addr_spec] for a in m[field].addresses] if m[field] else []
    print(json.dumps({"Name": name, "Subject": m["Subject"], "Addresses": addresses, "Leaves": leaves}))
