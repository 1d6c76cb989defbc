package mtasts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp/smtptest"
)

// want checks the result of Lookup and the number of requests since the last check.
func (w *world) want(t *testing.T, result string, requests int32) {
	t.Helper()
	got := show(w.Lookup(t.Context(), "example.com"))
	if got != result && (result == "" || !strings.Contains(got, result)) {
		t.Errorf("got %q, want %q", got, result)
	}
	if n := w.fetched(); n != requests {
		t.Errorf("got %d requests, want %d", n, requests)
	}
}

func (w *world) record(text string) { w.inet.TXT("_mta-sts.example.com", text) }

// TestRollover: a new id leads to a new policy within a minute; the same id doesn't, until a day has passed.
func TestRollover(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.want(t, "enforce id 1", 1)
		w.want(t, "enforce id 1", 0)
		if n := w.lookups.Load(); n != 1 {
			t.Errorf("got %d lookups of the record, want 1", n)
		}
		w.answer(200, "text/plain", strings.Replace(enforce, "enforce", "testing", 1))
		time.Sleep(2 * recheck)
		w.want(t, "enforce id 1", 0)
		w.record("v=STSv1; id=2;")
		w.want(t, "enforce id 1", 0)
		time.Sleep(recheck)
		w.want(t, "testing id 2", 1)
		w.answer(200, "text/plain", enforce)
		time.Sleep(renewal - time.Second)
		w.want(t, "testing id 2", 0)
		time.Sleep(recheck)
		w.want(t, "enforce id 2", 1) // renewed, long before it expires
		w.answer(200, "text/plain", "version: STSv1\nmode: none\nmax_age: 86400")
		w.record("v=STSv1; id=3;")
		time.Sleep(recheck)
		w.want(t, "none id 3", 1)
		if got := w.logged.take(); got != "" {
			t.Errorf("got log %s, want none", got)
		}
	})
}

// TestFailedRenewal: the policy that is kept applies until it expires, whatever fails, and not longer.
func TestFailedRenewal(t *testing.T) {
	notFound := func(w *world) { w.answer(404, "text/plain", "") }
	tests := []struct {
		name     string
		fail     func(*world)
		want     string // a part of the error
		after    string // the policy has expired
		requests int32  // per failure of a fetch
	}{
		{"no record", func(w *world) { w.inet.TXT("_mta-sts.example.com") }, "enforce id 1", "", 0},
		{"a malformed record", func(w *world) { w.record("v=STSv1; id=;") }, "enforce id 1", "", 0},
		{"two records", func(w *world) { w.inet.TXT("_mta-sts.example.com", "v=STSv1; id=1", "v=STSv1; id=2") }, "enforce id 1", "", 0},
		{"no DNS", func(w *world) { w.inet.FailDNS("_mta-sts.example.com", smtptest.ServFail) }, "enforce id 1 mtasts: example.com: TXT record", "mtasts: example.com: TXT record", 0},
		{"a new id, no policy", func(w *world) { w.record("v=STSv1; id=2"); notFound(w) }, "enforce id 1 mtasts: example.com: https", "mtasts: example.com: https", 1},
		{"a new id, another policy that isn't valid", func(w *world) {
			w.record("v=STSv1; id=2")
			w.answer(200, "text/plain", "mode: none")
		}, "enforce id 1 mtasts: example.com: policy: it has no", "mtasts: example.com: policy", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.want(t, "enforce id 1", 1)
				start := time.Now()
				tt.fail(w)
				time.Sleep(recheck)
				w.want(t, tt.want, tt.requests)
				if got := w.logged.take(); strings.Contains(got, "can't be renewed") != strings.Contains(tt.want, "mtasts:") {
					t.Errorf("got log %q", got)
				}
				time.Sleep(time.Until(start.Add(7*24*time.Hour - time.Second)))
				w.want(t, tt.want, tt.requests)
				time.Sleep(time.Second)
				w.want(t, tt.after, 0)
				if p, _ := w.Lookup(t.Context(), "example.com"); p != nil {
					t.Errorf("got %+v after it has expired", p)
				}
			})
		})
	}
}

// TestBackOff: a policy that can't be fetched is tried again after 5, 10, 20, 40, 60, 60 minutes; a new id at once.
func TestBackOff(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.answer(500, "text/plain", "")
		var tried []time.Duration
		start := time.Now()
		for last := start; len(tried) < 7; time.Sleep(recheck) {
			p, err := w.Lookup(t.Context(), "example.com")
			if p != nil || !strings.Contains(fmt.Sprint(err), "HTTP status 500") {
				t.Fatalf("got %+v, %v", p, err)
			}
			if w.fetched() > 0 {
				tried, last = append(tried, time.Since(last)), time.Now()
			}
		}
		if got, want := fmt.Sprint(tried), "[0s 5m0s 10m0s 20m0s 40m0s 1h0m0s 1h0m0s]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		w.record("v=STSv1; id=2")
		time.Sleep(recheck)
		w.want(t, "HTTP status 500", 1)
		w.inet.FailDNS("_mta-sts.example.com", smtptest.ServFail)
		time.Sleep(time.Minute)
		w.want(t, "TXT record", 0)
		w.inet.FailDNS("_mta-sts.example.com", smtptest.NoFault)
		time.Sleep(3 * time.Minute)
		w.want(t, "HTTP status 500", 0)
		w.answer(200, "text/plain", enforce)
		time.Sleep(time.Minute)
		w.want(t, "enforce id 2", 1)
	})
}

// TestNegative: a domain without a record is asked about again after 5 minutes.
func TestNegative(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.inet.TXT("_mta-sts.example.com")
		w.want(t, "", 0)
		w.record("v=STSv1; id=1")
		time.Sleep(negative - time.Second)
		w.want(t, "", 0)
		time.Sleep(time.Second)
		w.want(t, "enforce id 1", 1)
	})
}

// TestShortLife: a policy with a max_age of 0 is used for a minute.
func TestShortLife(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.answer(200, "text/plain", strings.Replace(enforce, "604800", "0", 1))
		w.want(t, "enforce id 1", 1)
		time.Sleep(minLife - time.Second)
		w.want(t, "enforce id 1", 0)
		w.answer(404, "text/plain", "")
		time.Sleep(time.Second)
		w.want(t, "HTTP status 404", 1)
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.handle(func(rw http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Second)
			rw.Header().Set("Content-Type", "text/plain")
			rw.Write([]byte(strings.Replace(enforce, "604800", "0", 1)))
		})
		for range 2 {
			w.want(t, "enforce id 1", 1)
			time.Sleep(minLife - 10*time.Second) // it was fetched 10 seconds earlier
		}
	})
}

// TestNoneFails: a policy of mode none that can't be renewed alerts nobody.
func TestNoneFails(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.answer(200, "text/plain", "version: STSv1\nmode: none\nmax_age: 604800")
		w.want(t, "none id 1", 1)
		w.answer(404, "text/plain", "")
		time.Sleep(renewal)
		w.want(t, "none id 1 mtasts: example.com: https", 1)
		if got := w.logged.take(); got != "" {
			t.Errorf("got log %s, want none", got)
		}
	})
}

// TestOneFlight: a hundred callers share one lookup and one fetch. While a policy is renewed, it is used.
func TestOneFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		slow := func(body string) {
			w.handle(func(rw http.ResponseWriter, _ *http.Request) {
				time.Sleep(10 * time.Second)
				rw.Header().Set("Content-Type", "text/plain")
				rw.Write([]byte(body))
			})
		}
		all := func() (results map[string]int) {
			results = make(map[string]int)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					start := time.Now()
					result := show(w.Lookup(t.Context(), "example.com"))
					mu.Lock()
					defer mu.Unlock()
					results[result+" after "+time.Since(start).String()]++
				})
			}
			wg.Wait()
			return results
		}
		slow(enforce)
		if got, want := fmt.Sprint(all()), "map[enforce id 1 after 10s:100]"; got != want || w.fetched() != 1 || w.lookups.Swap(0) != 1 {
			t.Errorf("got %s, want %s, with one request", got, want)
		}
		slow(strings.Replace(enforce, "enforce", "testing", 1))
		w.record("v=STSv1; id=2")
		time.Sleep(recheck)
		if got, want := fmt.Sprint(all()), "map[enforce id 1 after 0s:99 testing id 2 after 10s:1]"; got != want || w.fetched() != 1 || w.lookups.Load() != 1 {
			t.Errorf("got %s, want %s, with one request", got, want)
		}
	})
}

// TestCancel: a caller that gives up gets its own error, and the next one asks in its place.
func TestCancel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handle(func(rw http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second)
			rw.Header().Set("Content-Type", "text/plain")
			rw.Write([]byte(enforce))
		})
		first, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		second, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i, ctx := range []context.Context{first, second, t.Context()} {
			wg.Go(func() {
				time.Sleep(time.Duration(i)) // the first one flies
				p, err := w.Lookup(ctx, "example.com")
				if _, known := errors.AsType[*Error](err); i < 2 && (p != nil || known || !errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("%d: got %+v, %v, want its ctx's end", i, p, err)
				}
				if got := show(p, err); i == 2 && got != "enforce id 1" {
					t.Errorf("got %s, want the policy", got)
				}
			})
		}
		wg.Wait()
		if n := w.fetched(); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}

// TestMaxFetches: no more fetches than that run at a time, and a stalled policy host doesn't lose the policies of others.
func TestMaxFetches(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.MaxFetches = 1
		w.serve(t, "other.example")
		w.inet.TXT("_mta-sts.other.example", "v=STSv1; id=7")
		w.handle(func(rw http.ResponseWriter, r *http.Request) {
			if r.Host == "mta-sts.example.com" {
				<-r.Context().Done()
			}
			rw.Header().Set("Content-Type", "text/plain")
			rw.Write([]byte(enforce))
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if got := show(w.Lookup(t.Context(), "example.com")); !strings.Contains(got, "in time") {
				t.Errorf("got %s", got)
			}
		})
		synctest.Wait()
		start := time.Now()
		if got := show(w.Lookup(t.Context(), "other.example")); got != "enforce id 7" || time.Since(start) != time.Minute {
			t.Errorf("got %s after %v", got, time.Since(start))
		}
		wg.Wait()
	})
}

// TestMemory: the memory is bounded, and domains with a policy are the last to be forgotten.
func TestMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.want(t, "enforce id 1", 1)
		var policies []string
		for i := range 20 { // as if they had policies too
			k := *w.domains["example.com"]
			policies = append(policies, fmt.Sprintf("policy%d.example", i))
			w.domains[policies[i]] = &k
			w.size += k.size(policies[i])
		}
		n := 0
		for last := 0; w.size > last; n++ {
			last = w.size
			if p, err := w.Lookup(t.Context(), fmt.Sprintf("d%d.example", n)); p != nil || err != nil {
				t.Fatalf("got %+v, %v", p, err)
			}
			if w.size > maxMemory {
				t.Fatalf("got %d bytes", w.size)
			}
		}
		sum := 0
		for domain, k := range w.domains {
			sum += k.size(domain)
		}
		if w.size < maxMemory/3 || w.size > maxMemory/2 || sum != w.size || len(w.domains) > n*2/3 {
			t.Errorf("got %d bytes, counted as %d, in %d domains", sum, w.size, len(w.domains))
		}
		for _, domain := range policies {
			if w.domains[domain] == nil {
				t.Errorf("the policy of %s is forgotten before domains without one", domain)
			}
		}
	})
}

// TestNames: addresses have no policy, and a name that isn't valid is an error.
func TestNames(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Lookup(t.Context(), "[192.0.2.1]")
		if n := w.lookups.Load(); n > 0 {
			t.Errorf("got %d lookups for an address, want none", n)
		}
		for domain, want := range map[string]string{"[192.0.2.1]": "", "EXAMPLE.com.": "enforce id 1", "a b": "mtasts: smtp: domain", "": "mtasts: smtp: domain",
			strings.Repeat("a.", 120) + "example.com": ""} {
			if got := show(w.Lookup(t.Context(), domain)); got != want && (want == "" || !strings.HasPrefix(got, want)) {
				t.Errorf("%q: got %q, want %q", domain, got, want)
			}
		}
	})
}

// broken is a Resolver and a Store that panic.
type broken struct{ Resolver }

func (broken) LookupTXT(context.Context, string) ([]string, error) { panic("boom") }
func (broken) Load(context.Context, string) (Entry, error)         { panic("boom") }
func (broken) Save(context.Context, string, Entry) error           { panic("boom") }

// TestPanics: what panics doesn't end the process, and doesn't send mail without the policy.
func TestPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for name, set := range map[string]func(*Client){
			"Resolver": func(c *Client) { c.Resolver = broken{c.Resolver} },
			"Store":    func(c *Client) { c.Store = broken{} },
			"DialContext": func(c *Client) {
				c.DialContext = func(context.Context, string, string) (net.Conn, error) { panic("boom") }
			},
			"no connection": func(c *Client) {
				c.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
			},
		} {
			c := w.newClient()
			set(c)
			for range 2 {
				p, err := c.Lookup(t.Context(), "example.com")
				if p != nil || err == nil || !strings.Contains(err.Error(), "boom") && !strings.Contains(err.Error(), "no connection") {
					t.Errorf("%s: got %+v, %v", name, p, err)
				}
			}
		}
	})
}
