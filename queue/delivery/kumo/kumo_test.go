package kumo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// hosts is a Resolver.
type hosts map[string][]string

func (h hosts) LookupMX(_ context.Context, name string) (list []*net.MX, err error) {
	found, ok := h[name]
	if !ok {
		return nil, errors.New("no such name")
	}
	for _, host := range found {
		list = append(list, &net.MX{Host: host})
	}
	return list, nil
}

var testHosts = hosts{"south.test.": {"mx1.NORTH.test.", "mx2.north.test."}, "null.test.": {"."}}

// TestLoad: what two files say, together, is as in the golden file.
func TestLoad(t *testing.T) {
	s, err := Load(t.Context(), testHosts, "testdata/base.toml", "testdata/more.toml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range append(s.Receivers, s.Default) {
		fmt.Fprintf(&b, "profile %q hosts %v: %d connections, %d messages, rate %v, %+v\n",
			p.Name, p.Hosts, p.Connections, p.Messages, p.Rate, p.Recovery)
	}
	for i, r := range s.Replies {
		fmt.Fprintf(&b, "%s at %v: %v, %v: %v\n    %+v\n", r.Name, r.Hosts, r.Reason, r.Scope, r.Regexps, s.Automation[i])
	}
	for _, p := range s.Problems {
		fmt.Fprintln(&b, "problem:", p)
	}
	for _, p := range s.Ignored {
		fmt.Fprintln(&b, "ignored:", p)
	}
	const golden = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || b.String() != string(want) {
		t.Errorf("got, beside %s (%v):\n%s", golden, err, b.String())
	}
	if err := s.Receivers.Check(); err != nil {
		t.Error(err)
	}
}

// TestRules: the rules decide about replies of the hosts that they are for.
func TestRules(t *testing.T) {
	s, err := Load(t.Context(), testHosts, "testdata/base.toml", "testdata/more.toml")
	if err != nil {
		t.Fatal(err)
	}
	c := &replies.Classifier{Rules: s.Replies}
	tests := []struct {
		host, text string
		rule       string
		reason     smtp.Reason
	}{
		{"mx1.north.test", "[N01] wait", "kumo provider north rule 1", smtp.RateLimited},
		{"mx1.north.test", "you are\non our blocklist", "kumo provider north rule 3", smtp.Blocklisted},
		{"mx1.north.test", "[N03] from 192.0.2.1", "kumo provider north rule 4", smtp.RateLimited},
		{"mx1.north.test", "x S0000", "kumo domain south.test rule 1", smtp.RateLimited},
		{"mx.north-mail.test", "[N02]", "kumo provider north rule 2", smtp.RateLimited},
		{"mx.other.test", "[N02] come back later", "kumo default rule 1", smtp.RateLimited},
	}
	for _, tt := range tests {
		m := c.Classify(smtp.NewReply(451, "4.7.1", tt.text), smtp.StageRcpt, tt.host)
		if m.Rule != tt.rule || m.Reason != tt.reason {
			t.Errorf("%s, %q: got %q, %v; want %q, %v", tt.host, tt.text, m.Rule, m.Reason, tt.rule, tt.reason)
		}
	}
	if m := c.Classify(smtp.NewReply(451, "4.7.1", "[N02]"), smtp.StageRcpt, "mx.other.test"); m.Rule == "kumo provider north rule 2" {
		t.Error("a provider's rule decides about others")
	}
}

func TestErrors(t *testing.T) {
	big := File{"big.toml", make([]byte, MaxSize+1)}
	for _, f := range []File{big, {"bad.toml", []byte("[x")}} {
		if _, err := Parse(t.Context(), nil, f); err == nil || !strings.Contains(err.Error(), f.Name) {
			t.Errorf("%s: got the error %v", f.Name, err)
		}
	}
	if _, err := Load(t.Context(), nil, "testdata/missing.toml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that isn't there: got the error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, nil, "testdata/base.toml"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of ctx: got the error %v", err)
	}
	if s, err := Parse(t.Context(), nil); err != nil || len(s.Receivers) > 0 {
		t.Errorf("no files: got %+v, %v", s, err)
	}
}

func TestValues(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "2 hours": 2 * time.Hour, "2 hour": 2 * time.Hour, "1h 30min": 90 * time.Minute,
		"3 days": 72 * time.Hour, "1w": 168 * time.Hour, "500ms": time.Second / 2, "1sec": time.Second,
		"": 0, "soon": 0, "5": 0, "-1h": 0, "0h": 0, "1 year": 0, "9999999999h": 0, "2000000000w": 0, "1h2": 0,
	} {
		got, err := duration(in)
		if (err != nil) != (want == 0) || want > 0 && got != want {
			t.Errorf("duration %q: got %v, %v; want %v", in, got, err, want)
		}
	}
	for in, want := range map[any]delivery.Rate{
		"100/s": {Messages: 100, Per: time.Second}, "1_000/hr": {Messages: 1000, Per: time.Hour},
		"local:5/minute,max_burst=3": {Messages: 5, Per: time.Minute}, "6/2h": {Messages: 6, Per: 2 * time.Hour},
		"1/d": {Messages: 1, Per: 24 * time.Hour}, "5": {}, "0/s": {}, "x/s": {}, "5/": {}, "5/x": {}, int64(5): {},
	} {
		got, err := rate(in)
		if (err != nil) != (want.Messages == 0) || err == nil && got != want {
			t.Errorf("rate %v: got %v, %v; want %v", in, got, err, want)
		}
	}
	for in, want := range map[any]int{
		int64(5): 5, "7": 7, "local:7": 7, "1,000": 1000, int64(0): 0, int64(-1): 0, "x": 0, true: 0, int64(1 << 40): 0,
	} {
		got, err := limit(in)
		if (err != nil) != (want == 0) || got != want {
			t.Errorf("limit %v: got %v, %v; want %v", in, got, err, want)
		}
	}
}

// FuzzParse: no file makes a Shaping that can't be used.
func FuzzParse(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.toml")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, data string) {
		s, err := Parse(t.Context(), testHosts, File{"fuzz.toml", []byte(data)})
		if err != nil {
			return
		}
		if err := s.Receivers.Check(); err != nil {
			t.Error(err)
		}
		if len(s.Replies) != len(s.Automation) {
			t.Errorf("got %d rules and %d of automation", len(s.Replies), len(s.Automation))
		}
	})
}
