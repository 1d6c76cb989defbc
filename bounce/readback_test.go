package bounce

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestReadBack: Parse returns every field of each golden report as it was composed.
func TestReadBack(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(goldens)) {
		t.Run(name, func(t *testing.T) {
			report := golden(name)
			content := readReport(t, report)
			n := parseBytes(t, []byte(content))
			c, err := report.check()
			if err != nil {
				t.Fatal(err)
			}
			if n.Kind != Bounce || n.Format != "rfc3464" || n.ReportingMTA != c.host || !n.Arrival.Equal(report.Arrival) ||
				n.EnvelopeID != report.Envelope.EnvID {
				t.Errorf("got %v", show(n))
			}
			header := headerOf(readAll(t, report.Original))
			if !bytes.Equal(n.OriginalHeader, header) {
				t.Errorf("got the header\n%q\nwant\n%q", n.OriginalHeader, header)
			}
			if want := messageID(header); n.OriginalID != want {
				t.Errorf("got the Message-ID %q, want %q", n.OriginalID, want)
			}
			if len(n.Recipients) != len(c.recipients) {
				t.Fatalf("got %d recipients, want %d:\n%s", len(n.Recipients), len(c.recipients), show(n))
			}
			for i, want := range c.recipients {
				checkReadBack(t, c, &n.Recipients[i], &want)
			}
		})
	}
}

func checkReadBack(t *testing.T, c *composition, got *RecipientStatus, want *Recipient) {
	t.Helper()
	original := ""
	if want.ORCPT != "" {
		_, original = splitORCPT(want.ORCPT)
	}
	retry, last := time.Time{}, want.LastAttempt
	if want.Action == Delayed {
		retry = want.WillRetryUntil
	}
	if last.IsZero() {
		last = c.date
	}
	if got.Address != want.Address || got.OriginalAddress != original || got.Action != want.Action ||
		got.Status != want.status() || !got.Time.Equal(last) || !got.WillRetryUntil.Equal(retry) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	res := want.Result
	if want.Action == Expanded {
		res = smtp.Result{}
	}
	if res.Reply == nil {
		if got.Reply != nil {
			t.Errorf("got the reply %v, want none", got.Reply)
		}
		return
	}
	host := hostName(res)
	if res.Local {
		host = ""
	}
	if got.RemoteMTA != host || got.Local != res.Local {
		t.Errorf("got host %q, local %v, want %q, %v", got.RemoteMTA, got.Local, host, res.Local)
	}
	lines := textLines(res.Reply, c.utf8)
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ") // folding changes the spaces
	}
	text := strings.Trim(strings.Join(lines, "\n"), "\n")
	if got.Reply == nil || got.Reply.Code != res.Reply.Code || got.Reply.Enhanced != res.Reply.Enhanced ||
		got.Reply.Text != text || got.Text != text {
		t.Errorf("got the reply %+v, want %+v", got.Reply, res.Reply)
	}
}
