"""Reads a report as two independent readers do: report.py <FILE. Prints what each found, a line each."""
import email
import email.policy
import sys

from flufl.bounce import all_failures

raw = sys.stdin.buffer.read()
message = email.message_from_bytes(raw, policy=email.policy.default)
assert message.get_content_type() == "multipart/report", message.get_content_type()
assert message.get_param("report-type") == "delivery-status"
text, status, original = message.iter_parts()
assert text.get_content_type() == "text/plain", text.get_content_type()
assert status.get_content_type() == "message/delivery-status", status.get_content_type()
for group in status.get_payload()[1:]:
    print("email", group["Final-Recipient"], group["Action"], group["Status"])
print("subject", message["Subject"])
print("auto-submitted", message["Auto-Submitted"])
temporary, permanent = all_failures(email.message_from_bytes(raw))
print("flufl", sorted(a.decode() for a in temporary), sorted(a.decode() for a in permanent))
