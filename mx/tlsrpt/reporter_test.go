package tlsrpt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// world is a Reporter, the DNS, and what the Reporter sends.
type world struct {
	*Reporter
	inet   *smtptest.Network
	logged *buffer
	stop   func() // ends Run

	mu    sync.Mutex
	mails []sent
	fail  func(n int) error // for the nth mail
}

type sent struct {
	at   time.Time
	env  *smtp.Envelope
	mail *Mail
}

// buffer is a log that is written and read concurrently.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// take returns what was logged, and forgets it.
func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.String()
	b.b.Reset()
	return s
}

// inBubble runs f with a world in which example.net wants reports.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{inet: smtptest.NewNetwork(t), logged: new(buffer)}
		w.inet.TXT("_smtp._tls.example.net", "v=TLSRPTv1; rua=mailto:reports@example.net")
		w.Reporter = w.newReporter()
		f(t, w)
		if w.stop != nil {
			w.stop()
		}
	})
}

func (w *world) newReporter() *Reporter {
	return &Reporter{From: "tls-reports@example.com", Sender: smtp.SenderFunc(w.send), Resolver: w.inet,
		Logger: slog.New(slog.NewTextHandler(w.logged, nil))}
}

// send is the Sender of a world.
func (w *world) send(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, err := ParseMail(smtp.NewReader(c))
	if err != nil {
		return nil, smtp.NewReply(554, "5.6.0", err.Error())
	}
	w.mails = append(w.mails, sent{time.Now(), env, m})
	if w.fail != nil {
		return nil, w.fail(len(w.mails))
	}
	return nil, nil
}

// take returns the mails so far, and forgets them.
func (w *world) take() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	mails := w.mails
	w.mails = nil
	return mails
}

// run runs the Reporter until the world ends, or until stop.
func (w *world) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r := w.Reporter
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	w.stop = func() { cancel(); <-done; w.stop = nil }
}

// restart ends Run, and runs another Reporter with the same Store.
func (w *world) restart(t *testing.T) {
	store, spread := w.Store, w.Spread
	w.stop()
	w.Reporter = w.newReporter()
	w.Store, w.Spread = store, spread
	w.run(t)
}

var (
	mxAddr    = netip.MustParseAddr("192.0.2.10")
	localAddr = netip.MustParseAddr("192.0.2.1")
)

// success returns the result of a session with TLS.
func success(domain string) mx.TLSResult {
	return mx.TLSResult{Domain: domain, Host: "mx." + domain, From: "ann@example.com", Remote: mxAddr, Local: localAddr, Greeting: "mx." + domain}
}

// failed returns the result of a session with failures.
func failed(domain string, failures ...string) mx.TLSResult {
	r := success(domain)
	for _, f := range failures {
		kind, code, _ := strings.Cut(f, " ")
		r.Failures = append(r.Failures, mx.TLSFailure{Type: kind, Code: code})
	}
	return r
}

// show returns policies in a short form.
func show(policies []Policy) string {
	var lines []string
	for _, p := range policies {
		line := fmt.Sprintf("%s %s +%d -%d", p.Type, p.Domain, p.Successes, p.Failures)
		if len(p.Lines) > 0 {
			line += fmt.Sprintf(" %d lines", len(p.Lines))
		}
		for _, d := range p.Details {
			line += "; " + strings.Join(strings.Fields(fmt.Sprintf("%d %s %s %s %s", d.Sessions, d.Type, d.Host, d.Greeting, d.Code)), " ")
			for _, a := range []netip.Addr{d.SendingIP, d.ReceivingIP} {
				if a.IsValid() {
					line += " " + a.String()
				}
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (w *world) at(day string) string {
	w.Reporter.mu.Lock()
	defer w.Reporter.mu.Unlock()
	d := w.days[day]
	if d == nil || d.domains["example.net"] == nil {
		return ""
	}
	return show(d.domains["example.net"].policies)
}

// kept returns the number of days in memory.
func (w *world) kept() int {
	w.Reporter.mu.Lock()
	defer w.Reporter.mu.Unlock()
	return len(w.days)
}

const today = "2000-01-01" // as bubbles begin

// TestRecord: which sessions count for what.
func TestRecord(t *testing.T) {
	sts := &mx.FoundPolicy{Type: "sts", Lines: []string{"version: STSv1", "mode: testing"}, Hosts: []string{"*.example.net"}}
	tlsa := &mx.FoundPolicy{Type: "tlsa", Domain: "mx.example.net", Lines: []string{"3 1 1 ab"}}
	with := func(p *mx.FoundPolicy, r mx.TLSResult) mx.TLSResult { r.Policy = p; return r }
	change := func(r mx.TLSResult, f func(*mx.TLSResult)) mx.TLSResult { f(&r); return r }
	unconnected := func(r *mx.TLSResult) { r.Remote, r.Local, r.Greeting = netip.Addr{}, netip.Addr{}, "" }
	reused := change(success("example.net"), func(r *mx.TLSResult) { r.Reused = true })
	const detail = "mx.example.net mx.example.net"
	tests := []struct {
		name    string
		set     func(*Reporter)
		results []mx.TLSResult
		want    string
	}{
		{"success", nil, []mx.TLSResult{success("example.net"), success("example.net"), success("example.org")}, "no-policy-found example.net +2 -0"},
		{"failures", nil, []mx.TLSResult{failed("example.net", "starttls-not-supported"), success("example.net"), failed("example.net", "starttls-not-supported"), failed("example.net", "validation-failure EOF")},
			"no-policy-found example.net +1 -3; 2 starttls-not-supported " + detail + " 192.0.2.1 192.0.2.10; 1 validation-failure " + detail + " EOF 192.0.2.1 192.0.2.10"},
		{"two failures of one session", nil, []mx.TLSResult{with(sts, failed("example.net", "validation-failure a", "starttls-not-supported"))},
			"sts example.net +0 -1 2 lines; 1 validation-failure " + detail + " a 192.0.2.1 192.0.2.10; 1 starttls-not-supported " + detail + " 192.0.2.1 192.0.2.10"},
		{"policies", nil, []mx.TLSResult{success("example.net"), with(sts, success("example.net")), with(tlsa, success("example.net")), with(sts, success("example.net"))},
			"no-policy-found example.net +1 -0\nsts example.net +2 -0 2 lines\ntlsa mx.example.net +1 -0 1 lines"},
		{"excluded", nil, []mx.TLSResult{with(sts, change(failed("example.net", "validation-failure not listed"), unconnected))},
			"sts example.net +0 -1 2 lines; 1 validation-failure mx.example.net not listed"},
		{"a policy that can't be fetched", nil, []mx.TLSResult{failed("example.net", "sts-policy-fetch-error 404"), failed("example.net", "sts-policy-fetch-error 404", "starttls-not-supported")},
			"sts example.net +0 -2; 2 sts-policy-fetch-error 404\nno-policy-found example.net +1 -1; 1 starttls-not-supported " + detail + " 192.0.2.1 192.0.2.10"},
		{"a policy that can't be renewed", nil, []mx.TLSResult{with(sts, failed("example.net", "sts-webpki-invalid"))},
			"sts example.net +0 -1; 1 sts-webpki-invalid\nsts example.net +1 -0 2 lines"},
		{"bogus", nil, []mx.TLSResult{change(failed("example.net", "dnssec-invalid"), unconnected)}, "tlsa mx.example.net +0 -1; 1 dnssec-invalid"},
		{"unusable records", nil, []mx.TLSResult{with(tlsa, failed("example.net", "tlsa-invalid"))},
			"tlsa mx.example.net +0 -1 1 lines; 1 tlsa-invalid " + detail + " 192.0.2.1 192.0.2.10"},
		{"not connected, nothing found", nil, []mx.TLSResult{change(success("example.net"), unconnected)}, ""},
		{"our reports", nil, []mx.TLSResult{change(success("example.net"), func(r *mx.TLSResult) { r.From = "tls-reports@EXAMPLE.com" })}, ""},
		{"reused", nil, []mx.TLSResult{reused}, ""},
		{"reused, counted", func(r *Reporter) { r.CountReused = true }, []mx.TLSResult{success("example.net"), reused, reused}, "no-policy-found example.net +3 -0"},
		{"a private address", nil, []mx.TLSResult{change(failed("example.net", "x"), func(r *mx.TLSResult) { r.Local = netip.MustParseAddr("10.0.0.1") })},
			"no-policy-found example.net +0 -1; 1 x " + detail + " 192.0.2.10"},
		{"a private address of a NAT", func(r *Reporter) { r.SendingIP = netip.MustParseAddr("198.51.100.1") },
			[]mx.TLSResult{change(failed("example.net", "x"), func(r *mx.TLSResult) { r.Local = netip.MustParseAddr("fd00::1") })},
			"no-policy-found example.net +0 -1; 1 x " + detail + " 198.51.100.1 192.0.2.10"},
		{"a greeting that is no name", nil, []mx.TLSResult{change(failed("example.net", "x"), func(r *mx.TLSResult) { r.Greeting = "\"\r\n" })},
			"no-policy-found example.net +0 -1; 1 x mx.example.net 192.0.2.1 192.0.2.10"},
		{"details beyond the bound", func(r *Reporter) { r.MaxDetails = 2 },
			[]mx.TLSResult{failed("example.net", "x 1"), failed("example.net", "x 2"), failed("example.net", "x 3"), failed("example.net", "x 4"), failed("example.net", "y 1"), failed("example.net", "x 1")},
			"no-policy-found example.net +0 -6; 2 x " + detail + " 1 192.0.2.1 192.0.2.10; 1 x " + detail + " 2 192.0.2.1 192.0.2.10; 2 x; 1 y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				if tt.set != nil {
					tt.set(w.Reporter)
				}
				for _, r := range tt.results {
					w.Record(t.Context(), r)
				}
				if got := w.at(today); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
			})
		})
	}
}

// TestBounds: policies, domains and memory.
func TestBounds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.MaxDomains = 2
		for i := range maxDomainEntries + 5 {
			r := success("example.net")
			r.Policy = &mx.FoundPolicy{Type: "tlsa", Domain: fmt.Sprintf("mx%d.example.net", i), Lines: slices.Repeat([]string{"x"}, maxPolicyLines+1)}
			w.Record(t.Context(), r)
		}
		got := strings.Split(w.at(today), "\n")
		if n := len(got); n != maxDomainEntries+1 || got[0] != "tlsa mx0.example.net +1 -0 100 lines" || got[n-1] != "tlsa  +5 -0" {
			t.Errorf("got %d: %s, %s", n, got[0], got[n-1])
		}
		for _, domain := range []string{"a.example", "b.example", "c.example", "a.example"} {
			w.Record(t.Context(), success(domain))
		}
		if d := w.days[today]; len(d.domains) != 2 || d.beyond != 2 {
			t.Errorf("got %d domains, %d sessions beyond", len(d.domains), d.beyond)
		}
		w.run(t)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := w.logged.take(); !strings.Contains(got, `msg="TLS results beyond MaxDomains" day=2000-01-01 sessions=2`) {
			t.Errorf("got log %s", got)
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if mails := w.take(); len(mails) != 1 || mails[0].mail.Report.Policies[maxDomainEntries].Domain != "example.net" {
			t.Errorf("got %+v", mails)
		}
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.MaxDetails = 1_000_000
		for i := range 40 {
			for j := range 3000 {
				w.Record(t.Context(), failed(fmt.Sprintf("d%d.example", j), fmt.Sprintf("x %d %s", i, strings.Repeat("y", 200))))
			}
		}
		d := w.days[today]
		sessions := int64(0)
		for _, t := range d.domains {
			for _, detail := range t.policies[0].Details {
				sessions += detail.Sessions
			}
		}
		if most := maxDayMemory + 3000*detailSize; d.size > most || sessions != 40*3000 {
			t.Errorf("got %d bytes, want at most %d; %d sessions", d.size, most, sessions)
		}
	})
}

// TestDaily: one report a day and domain, at a time that is spread over four hours; then it is forgotten.
func TestDaily(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Store = &Dir{Path: filepath.Join(t.TempDir(), "reports")}
		w.run(t)
		for i := range 50 {
			domain := fmt.Sprintf("d%d.example", i)
			w.inet.TXT("_smtp._tls."+domain, "v=TLSRPTv1; rua=mailto:reports@"+domain)
			w.Record(t.Context(), success(domain))
			w.Record(t.Context(), success("no-reports-"+domain))
		}
		for range 3 {
			time.Sleep(time.Hour)
			w.Record(t.Context(), success("example.net"))
		}
		time.Sleep(24*time.Hour - time.Since(time.Date(2000, 1, 1, 3, 0, 0, 0, time.UTC)) - 3*time.Hour - time.Nanosecond)
		synctest.Wait()
		if got := w.take(); len(got) > 0 {
			t.Errorf("got %d mails before midnight", len(got))
		}
		time.Sleep(4*time.Hour + time.Nanosecond)
		synctest.Wait()
		mails := w.take()
		if len(mails) != 51 {
			t.Fatalf("got %d mails, want 51", len(mails))
		}
		quarters := make(map[int]int)
		ids := make(map[string]bool)
		for _, m := range mails {
			quarters[m.at.Hour()]++
			ids[m.mail.Report.ID] = true
			r := m.mail.Report
			if r.Organization != "example.com" || r.Contact != "tls-reports@example.com" || r.Begin.Format(time.RFC3339) != "2000-01-01T00:00:00Z" ||
				r.End.Format(time.RFC3339) != "2000-01-01T23:59:59Z" || m.env.From != w.From || m.env.Recipients[0].Address != "reports@"+m.mail.Domain {
				t.Errorf("got %+v to %+v", r, m.env)
			}
			if want := "no-policy-found example.net +3 -0"; m.mail.Domain == "example.net" && show(r.Policies) != want {
				t.Errorf("got %s, want %s", show(r.Policies), want)
			}
		}
		if len(quarters) != 4 || len(ids) != 51 {
			t.Errorf("got mails in the hours %v, and %d ids", quarters, len(ids))
		}
		time.Sleep(saveInterval)
		synctest.Wait()
		if days, err := w.Store.Days(t.Context()); len(days) > 0 || err != nil || w.kept() > 0 {
			t.Errorf("got days %v, %v, and %d in memory", days, err, w.kept())
		}
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		if got := w.take(); len(got) > 0 {
			t.Errorf("got %d mails for days without sessions", len(got))
		}
		got := w.logged.take()
		if strings.Count(got, "TLS report handed over") != 51 || strings.Contains(got, "WARN") || strings.Contains(got, "ERROR") {
			t.Errorf("got log %s", got)
		}
	})
}

// TestRestart: what was recorded survives restarts and a crash, except for the last minute, and late days are reported.
func TestRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Store = &Dir{Path: filepath.Join(t.TempDir(), "reports")}
		w.run(t)
		w.Record(t.Context(), failed("example.net", "starttls-not-supported"))
		w.restart(t)
		w.Record(t.Context(), failed("example.net", "starttls-not-supported"))
		w.Record(t.Context(), success("example.net"))
		time.Sleep(saveInterval)
		synctest.Wait()
		w.Record(t.Context(), success("example.net")) // lost

		// A crash: nothing is saved.
		crashed := w.Reporter
		crashed.mu.Lock()
		clear(crashed.dirty)
		crashed.mu.Unlock()
		store := w.Store
		w.stop()
		w.Reporter = w.newReporter()
		w.Store = store
		time.Sleep(60 * time.Hour) // nothing runs
		w.Record(t.Context(), success("example.net"))
		w.run(t)
		synctest.Wait()
		mails := w.take()
		const want = "no-policy-found example.net +1 -2; 2 starttls-not-supported mx.example.net mx.example.net 192.0.2.1 192.0.2.10"
		if len(mails) != 1 || show(mails[0].mail.Report.Policies) != want || mails[0].mail.Report.Begin.Format(time.DateOnly) != today {
			t.Fatalf("got %d mails, %+v, want %s", len(mails), mails, want)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if mails := w.take(); len(mails) != 1 || show(mails[0].mail.Report.Policies) != "no-policy-found example.net +1 -0" {
			t.Errorf("got %+v", mails)
		}

		// After 8 days, a report is too late.
		w.Record(t.Context(), success("example.net"))
		w.stop()
		time.Sleep(9 * 24 * time.Hour)
		w.logged.take()
		w.run(t)
		synctest.Wait()
		if mails, log := w.take(), w.logged.take(); len(mails) > 0 || !strings.Contains(log, "they are too late") {
			t.Errorf("got %+v, log %s", mails, log)
		}
	})
}

// TestRetry: a report that isn't taken is tried again with back-off for 24 hours, by the same ID, also over restarts.
func TestRetry(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want []time.Duration // after the first attempt
	}{
		{"deferred", smtp.NewReply(451, "4.3.0", "later"), []time.Duration{0, 5 * time.Minute, 15 * time.Minute, 35 * time.Minute, 75 * time.Minute, 155 * time.Minute,
			315 * time.Minute, 555 * time.Minute, 795 * time.Minute, 1035 * time.Minute, 1275 * time.Minute}},
		{"an error", errors.New("disk full"), nil},
		{"refused", smtp.NewReply(550, "5.1.1", "no such user"), []time.Duration{0}},
	}
	tests[1].want = tests[0].want
	for _, tt := range tests {
		for _, restarts := range []bool{false, true} {
			if restarts && tt.name != "deferred" {
				continue
			}
			t.Run(fmt.Sprint(tt.name, ", restarts ", restarts), func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					w.Store = &Dir{Path: t.TempDir()}
					w.fail = func(int) error { return tt.err }
					w.run(t)
					w.Record(t.Context(), success("example.net"))
					for range 80 {
						time.Sleep(time.Hour + 7*time.Minute)
						synctest.Wait()
						if restarts {
							w.restart(t)
						}
					}
					var got []time.Duration
					mails := w.take()
					for _, m := range mails {
						got = append(got, m.at.Sub(mails[0].at))
						if m.mail.Report.ID != mails[0].mail.Report.ID {
							t.Errorf("got id %s, want %s", m.mail.Report.ID, mails[0].mail.Report.ID)
						}
					}
					if !slices.Equal(got, tt.want) {
						t.Errorf("got %v, want %v", got, tt.want)
					}
					synctest.Wait()
					if n := w.kept(); n > 0 {
						t.Errorf("%d days are kept", n)
					}
				})
			})
		}
	}
}

// TestDNSFails: whether a domain wants a report is found out later.
func TestDNSFails(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.run(t)
		w.Record(t.Context(), success("example.net"))
		w.inet.FailDNS("_smtp._tls.example.net", smtptest.ServFail)
		time.Sleep(30 * time.Hour)
		w.inet.FailDNS("_smtp._tls.example.net", smtptest.NoFault)
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if got := w.take(); len(got) != 1 {
			t.Errorf("got %d mails", len(got))
		}
		w.Record(t.Context(), success("example.net"))
		w.inet.TXT("_smtp._tls.example.net", "v=TLSRPTv1; rua=mailto:a@example.net", "v=TLSRPTv1; rua=mailto:b@example.net")
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if got := w.take(); len(got) > 0 {
			t.Errorf("got %d mails with two records", len(got))
		}
	})
}

// brokenStore is a Dir whose methods fail while a field is set.
type brokenStore struct {
	Dir
	days, load, save atomic.Bool
}

var errBroken = errors.New("broken disk")

func (s *brokenStore) Days(ctx context.Context) ([]string, error) {
	if s.days.Load() {
		return nil, errBroken
	}
	return s.Dir.Days(ctx)
}

func (s *brokenStore) Load(ctx context.Context, day string) ([]byte, error) {
	if s.load.Load() {
		return nil, errBroken
	}
	return s.Dir.Load(ctx, day)
}

func (s *brokenStore) Save(ctx context.Context, day string, b []byte) error {
	if s.save.Load() {
		panic(errBroken)
	}
	return s.Dir.Save(ctx, day, b)
}

// TestStoreFails: a Store that fails is logged, and what it has isn't replaced until it was read.
func TestStoreFails(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		store := &brokenStore{Dir: Dir{Path: t.TempDir()}}
		w.Store = store
		w.run(t)
		w.Record(t.Context(), success("example.net"))
		store.save.Store(true)
		time.Sleep(saveInterval)
		synctest.Wait()
		if got := w.logged.take(); !strings.Contains(got, "broken disk") {
			t.Errorf("got log %s", got)
		}
		store.save.Store(false)
		time.Sleep(saveInterval)
		synctest.Wait()
		store.load.Store(true)
		w.restart(t)
		w.Record(t.Context(), success("example.net"))
		time.Sleep(10 * saveInterval)
		w.restart(t) // what was recorded meanwhile is lost, and not what the Store has
		w.Record(t.Context(), success("example.net"))
		time.Sleep(10 * saveInterval)
		synctest.Wait()
		store.load.Store(false)
		time.Sleep(saveInterval)
		synctest.Wait()
		if got, want := w.at(today), "no-policy-found example.net +2 -0"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		w.restart(t)
		synctest.Wait()
		if got, want := w.at(today), "no-policy-found example.net +2 -0"; got != want {
			t.Errorf("after a restart, got %s, want %s", got, want)
		}
		w.logged.take()
		w.stop()
		if err := store.Save(t.Context(), today, []byte("{")); err != nil {
			t.Fatal(err)
		}
		w.Reporter = w.newReporter()
		w.Store = store
		w.run(t)
		synctest.Wait()
		if got := w.logged.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "unexpected end of JSON") {
			t.Errorf("got log %s", got)
		}
	})
}

// TestSending: at most ten reports are sent at the same time, and those that the end of Run interrupts aren't lost.
func TestSending(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Store = &Dir{Path: t.TempDir()}
		w.Spread = -1
		send := w.Sender
		now, most := 0, 0 // under w.mu
		w.Sender = smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			w.mu.Lock()
			now++
			most = max(most, now)
			w.mu.Unlock()
			defer func() {
				w.mu.Lock()
				now--
				w.mu.Unlock()
			}()
			select {
			case <-time.After(time.Minute):
				return send.Send(ctx, env, c)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		w.run(t)
		for i := range 25 {
			domain := fmt.Sprintf("d%d.example", i)
			w.inet.TXT("_smtp._tls."+domain, "v=TLSRPTv1; rua=mailto:reports@"+domain)
			w.Record(t.Context(), success(domain))
		}
		time.Sleep(24*time.Hour + 90*time.Second)
		synctest.Wait()
		if got := w.take(); len(got) != maxSending || most != maxSending {
			t.Errorf("got %d mails, %d at the same time, want %d", len(got), most, maxSending)
		}
		w.restart(t)
		synctest.Wait()
		if got := w.take(); len(got) != 15 {
			t.Errorf("got %d mails after a restart, want 15", len(got))
		}
	})
}

func TestCheck(t *testing.T) {
	tests := []struct {
		r    Reporter
		want string
	}{
		{Reporter{From: "a@example.com"}, ""},
		{Reporter{}, "From is empty"},
		{Reporter{From: "postmaster"}, `From "postmaster"`},
		{Reporter{From: "a@[192.0.2.1]"}, "From"},
		{Reporter{From: "a@bücher.example"}, "ASCII"},
		{Reporter{From: "a\r\n@example.com"}, "From"},
		{Reporter{From: "a@example.com", MaxDomains: -1}, "MaxDomains is -1: set it"},
		{Reporter{From: "a@example.com", MaxDetails: -1}, "MaxDetails is -1: set it"},
		{Reporter{From: "a@example.com", MaxDetails: MaxDetails + 1}, "MaxDetails is 10001"},
		{Reporter{From: "a@example.com", MaxDetails: MaxDetails}, ""},
		{Reporter{From: "a@example.com", Store: &Dir{}}, "Path"},
		{Reporter{From: "a@example.com", Store: &Dir{Path: "/dev/null/x"}}, "not a directory"},
	}
	for i := range tests {
		err := tests[i].r.Check()
		if got := fmt.Sprint(err); err == nil != (tests[i].want == "") || !strings.Contains(got, tests[i].want) && err != nil {
			t.Errorf("%s: got %v, want %s", tests[i].r.From, err, tests[i].want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := new(Reporter).Run(ctx); err == nil {
		t.Error("Run without From: got no error")
	}
	new(Reporter).Record(ctx, success("example.net"))
}
