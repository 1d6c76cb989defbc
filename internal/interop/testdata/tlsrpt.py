# Checks reports against a schema. Each argument is a file: a report in JSON, or a mail with a report. Prints "ok" or the
# first fault of each, in one line.
import email, gzip, json, os, sys
import jsonschema

with open(os.path.join(os.path.dirname(__file__), "tlsrpt.schema.json")) as f:
    schema = json.load(f)
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())


def report(name):
    with open(name, "rb") as f:
        content = f.read()
    if not name.endswith(".eml"):
        return json.loads(content)
    mail = email.message_from_bytes(content)
    assert mail.get_content_type() == "multipart/report" and mail.get_param("report-type") == "tlsrpt", mail.as_string()
    first, second = mail.get_payload()
    assert first.get_content_type() == "text/plain" and second.get_content_type() == "application/tlsrpt+gzip"
    parsed = json.loads(gzip.decompress(second.get_payload(decode=True)))
    # RFC 8460, sections 5.1 and 5.3
    subject = "".join(mail["Subject"].split())
    sender, domain, begin, end, rest = second.get_filename().split("!")
    assert rest.endswith(".json.gz") and int(end) - int(begin) == 86399
    assert (sender, domain) == (mail["TLS-Report-Submitter"], mail["TLS-Report-Domain"])
    assert subject == f"ReportDomain:{domain}Submitter:{sender}Report-ID:<{parsed['report-id']}>", subject
    return parsed


for name in sys.argv[1:]:
    faults = sorted(validator.iter_errors(report(name)), key=lambda e: list(map(str, e.path)))
    print(f"{faults[0].json_path}: {faults[0].message}".replace("\n", " ") if faults else "ok")
