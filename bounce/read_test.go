package bounce

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// samples returns the paths of the mails in testdata/read, which are written for these tests: one for each format.
func samples(tb testing.TB) []string {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "read", "*.eml"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("got %d samples, %v", len(paths), err)
	}
	return paths
}

func parseBytes(tb testing.TB, b []byte) *Notification {
	tb.Helper()
	n, err := Parse(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// TestSamples reads each sample, and compares with its golden file.
func TestSamples(t *testing.T) {
	for _, path := range samples(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".eml"), func(t *testing.T) {
			mail, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := show(parseBytes(t, mail))
			golden := strings.TrimSuffix(path, ".eml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (go test -update writes it)", err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// show returns a Notification as lines of text, for golden files.
func show(n *Notification) string {
	var b strings.Builder
	line := func(name string, value any) {
		if s := fmt.Sprint(value); s != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, s)
		}
	}
	date := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	line("Kind", n.Kind)
	line("Format", n.Format)
	line("ReportingMTA", n.ReportingMTA)
	line("EnvelopeID", n.EnvelopeID)
	line("Arrival", date(n.Arrival))
	if n.Feedback != nil {
		line("Feedback", fmt.Sprintf("%+v", *n.Feedback))
	}
	line("OriginalID", n.OriginalID)
	if n.OriginalHeader != nil {
		line("OriginalHeader", fmt.Sprintf("%d octets", len(n.OriginalHeader)))
	}
	for _, r := range n.Recipients {
		b.WriteString("\n")
		line("Address", r.Address)
		line("OriginalAddress", r.OriginalAddress)
		if r.Action != 0 {
			line("Action", r.Action)
		}
		line("Status", r.Status)
		if r.Reply != nil {
			line("Reply", fmt.Sprintf("%d %v %q", r.Reply.Code, r.Reply.Enhanced, r.Reply.Text))
		}
		if r.Reply == nil || r.Text != r.Reply.Text {
			line("Text", strings.ReplaceAll(r.Text, "\n", "\n  "))
		}
		line("Local", r.Local)
		line("RemoteMTA", r.RemoteMTA)
		line("Time", date(r.Time))
		line("WillRetryUntil", date(r.WillRetryUntil))
		if r.Action != 0 {
			line("Reason", r.Reason)
			line("Hard", r.Hard)
		}
	}
	return b.String()
}
