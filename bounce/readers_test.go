package bounce

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

type reading struct {
	Defects         []string
	Parts           int
	Recipients      [][3]string
	Types           []string
	To              string
	Delayed, Failed []string
}

// read runs reader over the reports of the golden files. Without flufl.bounce in any Python, flufl is false.
func read(t *testing.T) (reports map[string]reading, flufl bool) {
	t.Helper()
	dir := t.TempDir()
	for name := range goldens {
		path := filepath.Join(dir, name+".eml")
		if err := os.WriteFile(path, []byte(readReport(t, golden(name))), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	found := false
	// The first Python in PATH may lack packages of the system's Python.
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		cmd := exec.Command(python, "-c", reader, dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if _, ran := err.(*exec.ExitError); err != nil && !ran {
			continue // not installed
		}
		if err != nil {
			t.Fatalf("%s: %v", python, err)
		}
		var all struct {
			Flufl   bool
			Reports map[string]reading
		}
		if err := json.Unmarshal(out, &all); err != nil {
			t.Fatal(err)
		}
		if found = true; reports == nil || all.Flufl {
			reports, flufl = all.Reports, all.Flufl
		}
		if flufl {
			break
		}
	}
	if !found {
		t.Skip("python3 is not installed: no independent reader has read the reports")
	}
	return reports, flufl
}

func TestReaders(t *testing.T) {
	reports, flufl := read(t)
	for name := range goldens {
		c, err := golden(name).check()
		if err != nil {
			t.Fatal(err)
		}
		got := reports[name]
		t.Run("email/"+name, func(t *testing.T) { checkEmail(t, c, got) })
		t.Run("flufl.bounce/"+name, func(t *testing.T) {
			if !flufl {
				t.Skip("flufl.bounce is not installed for python3: it has not read the reports")
			}
			checkFlufl(t, c, got)
		})
	}
}

// checkEmail compares the report with the findings of Python's email package.
func checkEmail(t *testing.T, c *composition, got reading) {
	t.Helper()
	if len(got.Defects) > 0 {
		t.Errorf("got defects %v", got.Defects)
	}
	if got.Parts != 3 || got.To != c.to && isASCII(c.to) {
		t.Errorf("got %d parts, To %q, want 3, %q", got.Parts, got.To, c.to)
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
	if !slices.Equal(got.Delayed, want[Delayed]) || !slices.Equal(got.Failed, want[Failed]) {
		t.Errorf("got delayed %q, failed %q, want %q, %q", got.Delayed, got.Failed, want[Delayed], want[Failed])
	}
}
