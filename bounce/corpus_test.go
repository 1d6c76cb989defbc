package bounce

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// sameReason maps the reasons of the other project, whose expectations come with the corpus, to ours. Its reasons are
// about which mail program or rule refused, ours about what has to change: one of theirs can be several of ours. nil
// means that the expectation states no reason. Each row says why.
var sameReason = map[string]struct {
	ours []smtp.Reason
	why  string
}{
	"userunknown":     {[]smtp.Reason{smtp.UserUnknown}, "the same"},
	"mailboxfull":     {[]smtp.Reason{smtp.MailboxFull}, "the same"},
	"hostunknown":     {[]smtp.Reason{smtp.HostUnknown}, "the same"},
	"mesgtoobig":      {[]smtp.Reason{smtp.TooBig}, "the same"},
	"norelaying":      {[]smtp.Reason{smtp.RelayDenied}, "the same"},
	"spamdetected":    {[]smtp.Reason{smtp.SpamContent}, "the same"},
	"virusdetected":   {[]smtp.Reason{smtp.Virus}, "the same"},
	"toomanyconn":     {[]smtp.Reason{smtp.RateLimited}, "the same"},
	"failedstarttls":  {[]smtp.Reason{smtp.TLS}, "the same"},
	"syntaxerror":     {[]smtp.Reason{smtp.Syntax}, "the same"},
	"authfailure":     {[]smtp.Reason{smtp.PolicyAuth}, "the same"},
	"requireptr":      {[]smtp.Reason{smtp.PolicyAuth}, "our PolicyAuth has reverse DNS"},
	"suspend":         {[]smtp.Reason{smtp.MailboxDisabled}, "the same"},
	"hasmoved":        {[]smtp.Reason{smtp.UserUnknown, smtp.MailboxDisabled}, "the mailbox isn't here any more"},
	"exceedlimit":     {[]smtp.Reason{smtp.TooBig}, "theirs for a message over a limit of the mailbox"},
	"badreputation":   {[]smtp.Reason{smtp.Blocklisted, smtp.RateLimited}, "our Blocklisted has reputation; 421 for complaints bounds a rate"},
	"notcompliantrfc": {[]smtp.Reason{smtp.Syntax, smtp.PolicyAuth}, "the header isn't as the host wants it, or lacks a valid From"},
	"expired": {[]smtp.Reason{smtp.Expired, smtp.Network, smtp.Temporary, smtp.Greylisted}, "theirs has every failure to connect in time; " +
		"ours has the cause of the last attempt where it is known"},
	"networkerror": {[]smtp.Reason{smtp.Network, smtp.Expired, smtp.Other, smtp.HostUnknown}, "theirs has mail loops, which are Other, and failures of the DNS"},
	"notaccept":    {[]smtp.Reason{smtp.HostUnknown, smtp.UserUnknown}, "the domain takes no mail: no MX, or a null MX"},
	"blocked": {[]smtp.Reason{smtp.Blocklisted, smtp.PolicyAuth, smtp.RateLimited, smtp.RelayDenied}, "the host refuses our address or name, " +
		"by a list, its reverse DNS, a quota or because we are no client of it"},
	"rejected": {[]smtp.Reason{smtp.PolicyAuth, smtp.Blocklisted, smtp.Syntax, smtp.RelayDenied, smtp.Other}, "the host refuses the sender's address: " +
		"as listed, as one that has no domain, as malformed, or because it isn't a member of a list, which is Other"},
	"filtered": {[]smtp.Reason{smtp.UserUnknown, smtp.MailboxDisabled, smtp.SpamContent, smtp.Other}, "theirs for a recipient who is refused at " +
		"DATA or by a filter of his own: most texts are those of an unknown user"},
	"policyviolation": {[]smtp.Reason{smtp.Other, smtp.PolicyAuth, smtp.SpamContent, smtp.Virus, smtp.Syntax, smtp.Blocklisted}, "a policy of the host, named or not"},
	"securityerror":   {[]smtp.Reason{smtp.Other, smtp.PolicyAuth, smtp.TLS, smtp.Virus, smtp.RelayDenied, smtp.Blocklisted}, "a policy of security, named or not; access denied"},
	"contenterror":    {[]smtp.Reason{smtp.Syntax, smtp.SpamContent, smtp.Other}, "the content is malformed or not wanted"},
	"mailererror":     {[]smtp.Reason{smtp.Other, smtp.Temporary}, "a program of the host failed"},
	"systemerror":     {[]smtp.Reason{smtp.Temporary, smtp.Other, smtp.Network, smtp.Expired}, "a fault of the host or of its network, or a loop"},
	"speeding":        {[]smtp.Reason{smtp.RateLimited}, "the same"},
	"onhold":          {nil, "theirs for: not known yet"},
	"undefined":       {nil, "theirs for: not known"},
}

// corpusDir returns the directory of the corpus of bounces: POSTRIDER_BOUNCES, or the one beside the repository.
func corpusDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("POSTRIDER_BOUNCES")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpora", "bounces")
	}
	if _, err := os.Stat(filepath.Join(dir, "expected.tsv")); err != nil {
		tb.Skipf("no corpus of bounces at %s (set POSTRIDER_BOUNCES to its directory)", dir)
	}
	return dir
}

// expectation is a row of expected.tsv.
type expectation struct {
	status, code, reason string
	hard                 bool
	feedback             string
}

func readExpected(tb testing.TB, dir string) map[string][]expectation {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "expected.tsv"))
	if err != nil {
		tb.Fatal(err)
	}
	all := make(map[string][]expectation)
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(f) < 7 || f[0] == "file" {
			continue
		}
		all[f[0]] = append(all[f[0]], expectation{f[2], f[3], f[4], f[5] == "true", f[6]})
	}
	return all
}

// score counts what agrees with the expectations.
type score struct{ mails, read, recipients, reasons, hard, strict int }

func (s score) String() string {
	percent := func(n, of int) string {
		return fmt.Sprintf("%d of %d (%.1f %%)", n, of, 100*float64(n)/float64(max(of, 1)))
	}
	return "mails read " + percent(s.read, s.mails) + ", reasons " + percent(s.reasons, s.recipients) +
		", hard or soft " + percent(s.hard, s.recipients) + ", without that argument " + percent(s.strict, s.recipients)
}

// fold returns 0 or 1 by the name of a file: the rules were made on fold 0, and measured on fold 1.
func fold(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32() >> 7 & 1)
}

// TestCorpus reads real bounces of another project, and compares with what its tests expect of them.
func TestCorpus(t *testing.T) {
	dir := corpusDir(t)
	expected := readExpected(t, dir)
	var folds [2]score
	var all score
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		want := expected[name]
		b, err := os.ReadFile(filepath.Join(dir, "mail", name))
		if err != nil {
			t.Fatal(err)
		}
		n, err := Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		only := os.Getenv("POSTRIDER_FOLD")
		verbose := only == "" || only == strconv.Itoa(fold(name))
		for _, s := range []*score{&all, &folds[fold(name)]} {
			s.mails++
			s.recipients += len(want)
			if len(n.Recipients) == len(want) && plausible(n, want[0]) {
				s.read++
			} else if s == &all && verbose {
				t.Logf("%s: got %v with %s, want %d of %s", name, n.Kind, describe(n), len(want), want[0].reason)
			}
			got := n.Recipients
			for _, w := range want {
				if len(got) == 0 {
					continue
				}
				// The rows of a mail aren't always in its order.
				at := max(0, slices.IndexFunc(got, func(r RecipientStatus) bool { return r.Status.String() == w.status }))
				r := got[at]
				got = slices.Delete(slices.Clone(got), at, at+1)
				if agrees(n, &r, w) {
					s.reasons++
				} else if s == &all && verbose {
					t.Logf("%s: got reason %v (%v %v), want %s (%s %s): %.160q", name, r.Reason, r.Status, code(&r), w.reason, w.status, w.code, r.Text)
				}
				switch {
				case r.Hard == w.hard:
					s.hard++
					s.strict++
				case w.reason == "filtered" && r.Reason == smtp.UserUnknown:
					// sameReason says why: the words are those of an unknown user, and theirs is about another rule.
					s.hard++
				case s == &all && verbose:
					t.Logf("%s: got hard %v %v, want %v %s: %.160q", name, r.Hard, r.Reason, w.hard, w.reason, r.Text)
				}
			}
		}
	}
	t.Logf("all:    %v", all)
	t.Logf("fold 0: %v", folds[0])
	t.Logf("fold 1: %v", folds[1])
	if all.read*100 < all.mails*97 || all.reasons*100 < all.recipients*92 || all.hard*100 < all.recipients*95 {
		t.Errorf("got %v, want 97, 92 and 95 %%", all)
	}
}

func code(r *RecipientStatus) int {
	if r.Reply == nil {
		return 0
	}
	return r.Reply.Code
}

func describe(n *Notification) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", n.Format)
	for _, r := range n.Recipients {
		fmt.Fprintf(&b, " %s (%v %v)", r.Address, r.Action, r.Reason)
	}
	return b.String()
}

// plausible reports whether the kind is right, and whether each recipient can be one.
func plausible(n *Notification, want expectation) bool {
	kind := Bounce
	switch want.reason {
	case "feedback":
		kind = Complaint
	case "vacation":
		kind = AutoReply
	}
	if n.Kind != kind {
		return false
	}
	for _, r := range n.Recipients {
		if _, domain := smtp.SplitAddress(r.Address); domain == "" && n.Format != "rfc3464" {
			return false
		}
	}
	return true
}

func agrees(n *Notification, r *RecipientStatus, want expectation) bool {
	switch want.reason {
	case "feedback":
		return n.Kind == Complaint && n.Feedback.Type == want.feedback
	case "vacation":
		return n.Kind == AutoReply
	case "delivered":
		return r.Action == Delivered && r.Reason == smtp.NoReason
	}
	row, ok := sameReason[want.reason]
	return ok && (row.ours == nil || slices.Contains(row.ours, r.Reason))
}
