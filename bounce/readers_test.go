package bounce

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reader is a Python program that reads reports and prints its findings as JSON. It uses two readers that share no code
// with this package: the email package, and flufl.bounce if that is installed.
const reader = `
import email, email.policy, glob, json, os, sys
try:
    from flufl.bounce import all_failures
except ImportError:
    all_failures = None
reports = {}
for path in glob.glob(os.path.join(sys.argv[1], '*.eml')):
    with open(path, 'rb') as f:
        data = f.read()
    m = email.message_from_bytes(data, policy=email.policy.default)
    defects = [repr(d) for part in m.walk() for d in part.defects]
    recipients = []
    status, returned = m.get_payload()[1:]
    if status.get_content_type() == 'message/delivery-status':
        for group in status.get_payload()[1:]:
            if group:
                recipients.append([group['Final-Recipient'], group['Action'], group['Status']])
    report = {'defects': defects, 'parts': len(m.get_payload()), 'recipients': recipients,
              'types': [p.get_content_type() for p in m.get_payload()], 'to': m['To']}
    if all_failures:
        found = all_failures(email.message_from_bytes(data))
        report['delayed'], report['failed'] = [sorted(a.decode() for a in s) for s in found]
    reports[os.path.basename(path)[:-4]] = report
json.dump({'flufl': bool(all_failures), 'reports': reports}, sys.stdout)
`

// perlReader does the same with two readers in Perl, of which either may be missing.
const perlReader = `
use strict;
use JSON::PP;
my $parser = eval { require Mail::DeliveryStatus::BounceParser; 1 };
my $sisimai = eval { require Sisimai; 1 };
my %reports;
for my $path (glob("$ARGV[0]/*.eml")) {
	open my $file, '<:raw', $path or die $path;
	my $data = do { local $/; <$file> };
	my ($name) = $path =~ m{([^/]+)[.]eml$};
	my %report;
	if ($parser) {
		(my $local = $data) =~ s/\r\n/\n/g; # it knows only the line ends of Unix
		my $bounce = eval { Mail::DeliveryStatus::BounceParser->new($local) };
		$report{bounce} = $bounce && $bounce->is_bounce ? JSON::PP::true : JSON::PP::false;
		$report{failed} = $bounce ? [sort map { $_->get('email') } $bounce->reports] : [];
	}
	if ($sisimai) {
		$report{recipients} = [map { [$_->recipient->address, $_->action, $_->deliverystatus] }
			@{ Sisimai->make(\$data, delivered => 1) || [] }];
	}
	$reports{$name} = \%report;
}
print JSON::PP->new->encode({parser => $parser ? JSON::PP::true : JSON::PP::false,
	sisimai => $sisimai ? JSON::PP::true : JSON::PP::false, reports => \%reports});
`

// reading is what one reader has found in a report.
type reading struct {
	Defects         []string
	Parts           int
	Recipients      [][3]string // address, action, status
	Types           []string
	To              string
	Delayed, Failed []string
	Bounce          bool
	Own             *Notification `json:"-"`
}

// findings are those of one program in all reports, and the readers that it had.
type findings struct {
	Flufl, Parser, Sisimai bool
	Reports                map[string]reading
}

// runReader runs a program over the reports in dir. ok is false if its interpreter isn't installed.
func runReader(t *testing.T, dir, interpreter, flag, program string) (found findings, ok bool) {
	t.Helper()
	cmd := exec.Command(interpreter, flag, program, dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if _, ran := err.(*exec.ExitError); err != nil && !ran {
		return found, false
	}
	if err != nil {
		t.Fatalf("%s: %v", interpreter, err)
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%s: %v", interpreter, err)
	}
	return found, true
}

// TestReaders has independent readers, and our own, read reports of all kinds: each finds what was composed.
func TestReaders(t *testing.T) {
	dir := t.TempDir()
	reports := matrix()
	for name, r := range reports {
		if err := os.WriteFile(filepath.Join(dir, name+".eml"), []byte(readReport(t, r)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	// The first Python in PATH may lack packages of the system's Python.
	python, ok := runReader(t, dir, "python3", "-c", reader)
	if !ok || !python.Flufl {
		if system, there := runReader(t, dir, "/usr/bin/python3", "-c", reader); there && (system.Flufl || !ok) {
			python, ok = system, true
		}
	}
	own := findings{Reports: make(map[string]reading)}
	for name := range reports {
		b, err := os.ReadFile(filepath.Join(dir, name+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		own.Reports[name] = reading{Own: parseBytes(t, b)}
	}
	perl, okPerl := runReader(t, dir, "perl", "-e", perlReader)
	for _, reader := range []struct {
		name     string
		there    bool
		findings findings
		check    func(*testing.T, *composition, reading)
	}{
		{"Parse", true, own, checkParse},
		{"Python's email", ok, python, checkEmail},
		{"flufl.bounce", ok && python.Flufl, python, checkFlufl},
		{"Mail::DeliveryStatus::BounceParser", okPerl && perl.Parser, perl, checkParser},
		{"Sisimai", okPerl && perl.Sisimai, perl, checkSisimai},
	} {
		t.Run(reader.name, func(t *testing.T) {
			if !reader.there {
				t.Skip("it is not installed, and has not read the reports")
			}
			for name, r := range reports {
				c, err := r.check()
				if err != nil {
					t.Fatal(err)
				}
				t.Run(name, func(t *testing.T) { reader.check(t, c, reader.findings.Reports[name]) })
			}
		})
	}
}

// checkParse compares the report with what Parse finds.
func checkParse(t *testing.T, c *composition, got reading) {
	t.Helper()
	n := got.Own
	if n.Kind != Bounce || n.ReportingMTA != c.host || len(n.Recipients) != len(c.recipients) {
		t.Fatalf("got %v by %q about %d recipients, want %q about %d", n.Kind, n.ReportingMTA, len(n.Recipients), c.host, len(c.recipients))
	}
	for i := range c.recipients {
		checkReadBack(t, c, &n.Recipients[i], &c.recipients[i])
	}
}

// checkParser compares the failed recipients with those of Mail::DeliveryStatus::BounceParser, which prefers the
// original recipient. A report with a delay or an expansion is no bounce to it, and it doesn't know
// message/global-delivery-status.
func checkParser(t *testing.T, c *composition, got reading) {
	t.Helper()
	if c.has(Delayed) || c.has(Expanded) {
		if got.Bounce {
			t.Error("got a bounce, want none")
		}
		return
	}
	if got.Bounce != c.has(Failed) {
		t.Errorf("got a bounce: %v, want %v", got.Bounce, c.has(Failed))
	}
	if c.status().encoding == encoding8Bit {
		return
	}
	var want []string
	for _, rcpt := range c.recipients {
		if rcpt.Action == Failed {
			want = append(want, field([]byte(rcpt.fields(c)), "Original-Recipient"))
			if want[len(want)-1] == "" {
				want[len(want)-1] = field([]byte(rcpt.fields(c)), "Final-Recipient")
			}
			_, want[len(want)-1], _ = strings.Cut(want[len(want)-1], "; ")
		}
	}
	slices.Sort(want)
	if !slices.Equal(got.Failed, want) {
		t.Errorf("got failed %q, want %q", got.Failed, want)
	}
}

// checkSisimai compares all recipients with those of Sisimai, which knows only addresses in ASCII, also of the sender.
func checkSisimai(t *testing.T, c *composition, got reading) {
	t.Helper()
	if !isASCII(c.to) || slices.ContainsFunc(c.recipients, func(r Recipient) bool { return !isASCII(r.Address) }) {
		return
	}
	var want [][3]string
	for _, rcpt := range c.recipients {
		header := []byte(rcpt.fields(c))
		_, address, _ := strings.Cut(field(header, "Final-Recipient"), "; ")
		want = append(want, [3]string{address, rcpt.Action.String(), rcpt.status().String()})
	}
	if !slices.Equal(got.Recipients, want) {
		t.Errorf("got recipients %v, want %v", got.Recipients, want)
	}
}

// fields are those of a recipient in the report.
func (r *Recipient) fields(c *composition) string {
	var b bytes.Buffer
	c.writeRecipient(&b, *r)
	return b.String()
}

// checkEmail compares the report with the findings of Python's email package.
func checkEmail(t *testing.T, c *composition, got reading) {
	t.Helper()
	if len(got.Defects) > 0 {
		t.Errorf("got defects %v", got.Defects)
	}
	if got.Parts != 3 {
		t.Fatalf("got %d parts, want 3", got.Parts)
	}
	if got.To != c.to && isASCII(c.to) {
		t.Errorf("got To %q, want %q", got.To, c.to)
	}
	if got.Types[1] == "message/global-delivery-status" {
		return // Python doesn't parse this type
	}
	var want [][3]string
	for _, rcpt := range c.recipients {
		want = append(want, [3]string{
			typedAddress("rfc822", rcpt.Address, c.utf8), rcpt.Action.String(), rcpt.status().String(),
		})
	}
	if !slices.Equal(got.Recipients, want) {
		t.Errorf("got recipients %v, want %v", got.Recipients, want)
	}
}

// checkFlufl compares the delayed and failed recipients with the findings of flufl.bounce, which prefers the original
// recipient and knows only the address type rfc822. It finds no recipient with another action.
func checkFlufl(t *testing.T, c *composition, got reading) {
	t.Helper()
	want := map[Action][]string{}
	for _, rcpt := range c.recipients {
		address := rcpt.Address
		if addrType, known := splitORCPT(rcpt.ORCPT); addrType == "rfc822" {
			address = known
		}
		if isASCII(rcpt.Address) {
			want[rcpt.Action] = append(want[rcpt.Action], address)
		}
	}
	slices.Sort(want[Failed])
	slices.Sort(want[Delayed])
	if !slices.Equal(got.Delayed, want[Delayed]) || !slices.Equal(got.Failed, want[Failed]) {
		t.Errorf("got delayed %q, failed %q, want %q, %q", got.Delayed, got.Failed, want[Delayed], want[Failed])
	}
}
