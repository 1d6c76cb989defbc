package oauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// keyFile returns the key file of a service account.
func keyFile(t *testing.T, tokenURL string) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "mailer@project.example", "private_key_id": "k1", "token_uri": tokenURL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGrants: the token of each grant, and what the server is asked for.
func TestGrants(t *testing.T) {
	var form url.Values
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		form = r.PostForm
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"token-1","token_type":"Bearer","expires_in":3600}`)
	}))
	defer srv.Close()
	for _, tt := range []struct {
		name   string
		source *Source
		want   url.Values
	}{
		{"client credentials", &Source{TokenURL: srv.URL, ClientID: "id", ClientSecret: "secret", Scopes: []string{MicrosoftScope}},
			url.Values{"grant_type": {"client_credentials"}, "client_id": {"id"}, "client_secret": {"secret"}, "scope": {MicrosoftScope}}},
		{"refresh token", &Source{TokenURL: srv.URL, ClientID: "id", ClientSecret: "secret", RefreshToken: "r1"},
			url.Values{"grant_type": {"refresh_token"}, "client_id": {"id"}, "client_secret": {"secret"}, "refresh_token": {"r1"}}},
		{"refresh token of a public client", &Source{TokenURL: srv.URL, ClientID: "id", RefreshToken: "r1"},
			url.Values{"grant_type": {"refresh_token"}, "client_id": {"id"}, "refresh_token": {"r1"}}},
		{"service account", &Source{ServiceAccount: keyFile(t, srv.URL), Subject: "ann@example.com", Scopes: []string{GoogleScope}},
			url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := tt.source.Token(t.Context())
			if err != nil || token != "token-1" {
				t.Fatalf("got %q, %v", token, err)
			}
			if assertion := form.Get("assertion"); assertion != "" {
				form.Del("assertion")
				claims, _ := base64.RawURLEncoding.DecodeString(strings.Split(assertion, ".")[1])
				for _, want := range []string{`"iss":"mailer@project.example"`, `"sub":"ann@example.com"`, `"scope":"` + GoogleScope + `"`} {
					if !bytes.Contains(claims, []byte(want)) {
						t.Errorf("got claims %s, want %s in them", claims, want)
					}
				}
			}
			if form.Encode() != tt.want.Encode() {
				t.Errorf("got form %v, want %v", form, tt.want)
			}
			if s := fmt.Sprintf("%v %+v %#v %s", tt.source, tt.source, tt.source, tt.source); strings.Contains(s, "secret") ||
				strings.Contains(s, "r1") || strings.Contains(s, "token-1") || strings.Contains(s, "PRIVATE") {
				t.Errorf("got %s, want no secret", s)
			}
		})
	}
}

// answers is an http.RoundTripper in memory.
type answers struct {
	mu     sync.Mutex
	asked  int
	last   url.Values
	answer func(n int, r *http.Request) (status int, body string, err error)
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.asked++
	n := a.asked
	a.last, _ = url.ParseQuery(string(body))
	a.mu.Unlock()
	status, text, err := a.answer(n, r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// tokens answers with token-1, token-2 and so on, after a second.
func tokens(n int, r *http.Request) (int, string, error) {
	select {
	case <-time.After(time.Second):
		return 200, fmt.Sprintf(`{"access_token":"token-%d","expires_in":3600}`, n), nil
	case <-r.Context().Done():
		return 0, "", r.Context().Err()
	}
}

func newSource(a *answers) *Source {
	return &Source{TokenURL: "https://login.example/token", ClientID: "id", ClientSecret: "secret",
		Scopes: []string{"mail"}, HTTPClient: &http.Client{Transport: a}}
}

// TestOneFlight: 100 sessions share one fetch, and a token is refreshed 5 minutes before its end.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{answer: tokens}
		s := newSource(a)
		all := func(want string) {
			t.Helper()
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if got, err := s.Token(t.Context()); err != nil || got != want && got != "token-1" {
						t.Errorf("got %q, %v, want %q", got, err, want)
					}
				})
			}
			wg.Wait()
		}
		all("token-1")
		time.Sleep(54 * time.Minute)
		all("token-1")
		if n := a.count(); n != 1 {
			t.Fatalf("got %d requests, want 1", n)
		}
		time.Sleep(time.Minute)
		all("token-2") // one refreshes, and the others use the old one meanwhile
		if got, err := s.Token(t.Context()); got != "token-2" || err != nil || a.count() != 2 {
			t.Errorf("got %q, %v and %d requests, want token-2 and 2", got, err, a.count())
		}
	})
}

// TestRefreshFails: a token is used to its end if it can't be refreshed, and the server is asked every 10 seconds at
// most.
func TestRefreshFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{answer: func(n int, r *http.Request) (int, string, error) {
			if n > 1 {
				return 503, "", nil
			}
			return 200, `{"access_token":"token-1","expires_in":3600}`, nil
		}}
		s := newSource(a)
		for range 3540 {
			if got, err := s.Token(t.Context()); got != "token-1" || err != nil {
				t.Fatalf("got %q, %v, want token-1", got, err)
			}
			time.Sleep(time.Second)
		}
		if n := a.count(); n < 20 || n > 1+24 {
			t.Errorf("got %d requests, want one each 10 seconds of 4 minutes", n)
		}
		time.Sleep(time.Minute)
		_, err := s.Token(t.Context())
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Unavailable || !e.Temporary() {
			t.Errorf("got %v, want Unavailable", err)
		}
	})
}

// TestShortLife: a token of a minute is refreshed at its half, not at once; one without an end after some time.
func TestShortLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := `,"expires_in":60`
		a := &answers{answer: func(n int, r *http.Request) (int, string, error) {
			return 200, fmt.Sprintf(`{"access_token":"token-%d"%s}`, n, life), nil
		}}
		s := newSource(a)
		for i, want := range []string{"token-1", "token-1", "token-2", "token-2"} {
			if got, err := s.Token(t.Context()); got != want || err != nil {
				t.Errorf("at %d s: got %q, %v, want %q", i*20, got, err, want)
			}
			time.Sleep(20 * time.Second)
		}
		life = ""
		s.Token(t.Context())
		time.Sleep(2 * time.Minute)
		if got, _ := s.Token(t.Context()); got != "token-3" {
			t.Errorf("got %q, want token-3: a token without an end is kept for some minutes", got)
		}
	})
}

// TestWaiters: a waiter leaves when its ctx ends. Then, and if the one who fetches leaves, the others get their token.
func TestWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{answer: tokens}
		s := newSource(a)
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, ctx := range []context.Context{first, second} {
			wg.Go(func() {
				if _, err := s.Token(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want context.Canceled", err)
				}
			})
			synctest.Wait()
		}
		wg.Go(func() {
			if got, err := s.Token(t.Context()); got != "token-2" || err != nil {
				t.Errorf("got %q, %v, want token-2", got, err)
			}
		})
		synctest.Wait()
		cancelSecond()
		synctest.Wait()
		cancelFirst()
		wg.Wait()
	})
}

// TestTimeout: a server that doesn't answer is left after Timeout, with each grant.
func TestTimeout(t *testing.T) {
	file := keyFile(t, "https://login.example/token")
	for _, service := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := &answers{answer: func(_ int, r *http.Request) (int, string, error) {
				<-r.Context().Done()
				return 0, "", r.Context().Err()
			}}
			s := newSource(a)
			if service {
				s = &Source{ServiceAccount: file, Subject: "a@example.com", Scopes: []string{GoogleScope}, HTTPClient: s.HTTPClient}
			}
			begun := time.Now()
			_, err := s.Token(t.Context())
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != Network || !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != defaultTimeout {
				t.Errorf("got %v after %s, want Network after %s", err, time.Since(begun), defaultTimeout)
			}
		})
	}
}

// TestRotated: a new refresh token replaces the old one, and is passed on.
func TestRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{answer: func(n int, r *http.Request) (int, string, error) {
			return 200, fmt.Sprintf(`{"access_token":"token-%d","expires_in":3600,"refresh_token":"r%d"}`, n, n+1), nil
		}}
		s := newSource(a)
		s.ClientSecret, s.Scopes, s.RefreshToken = "", nil, "r1"
		stored, failure := "", error(nil)
		s.Rotated = func(_ context.Context, token string) error { stored = token; return failure }
		for _, want := range []string{"r1", "r2", "r3"} {
			if want == "r3" {
				failure = errors.New("disk full")
			}
			_, err := s.Token(t.Context())
			if e, ok := errors.AsType[*Error](err); want == "r3" && (!ok || e.Kind != NotStored || !errors.Is(err, failure)) {
				t.Errorf("got %v, want NotStored", err)
			}
			if got := a.last.Get("refresh_token"); got != want {
				t.Errorf("asked with %q, want %q", got, want)
			}
			time.Sleep(time.Hour)
		}
		if stored != "r4" {
			t.Errorf("got %q, want r4", stored)
		}
	})
}

// TestWallClock: the end of a token is a reading of the monotonic clock, whatever the server says of it. Where the
// server says how long it lives, the wall clock doesn't count: here it is an hour ahead.
func TestWallClock(t *testing.T) {
	idToken := func(end time.Time) string {
		claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, end.Unix()))
		return "e30." + claims + ".e30"
	}
	file := keyFile(t, "https://login.example/token")
	for _, tt := range []struct {
		name, answer string
		account      bool
		life         time.Duration // 0: an error
	}{
		{"expires_in", `"expires_in":3600`, false, time.Hour},
		{"expires_in as text", `"expires_in":"3600"`, false, time.Hour},
		{"no end", `"token_type":"Bearer"`, false, noExpiry},
		{"centuries", `"expires_in":10000000000`, true, maxLife},
		{"an ID token", `"id_token":"` + idToken(time.Now().Add(time.Hour)) + `"`, true, time.Hour},
		{"an ID token that has expired", `"id_token":"` + idToken(time.Now().Add(-time.Hour)) + `"`, true, 0},
		{"expires_in beside an ID token", `"expires_in":3600,"id_token":"` + idToken(time.Now().Add(-time.Hour)) + `"`, true, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSource(&answers{answer: func(int, *http.Request) (int, string, error) {
				return 200, `{"access_token":"token-1",` + tt.answer + `}`, nil
			}})
			if tt.account {
				s.ServiceAccount, s.Subject, s.ClientID, s.ClientSecret = file, "ann@example.com", "", ""
			}
			before := time.Now()
			token, err := s.Token(t.Context())
			if tt.life == 0 {
				if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Malformed {
					t.Errorf("got %q and %v, want Malformed", token, err)
				}
				return
			}
			if err != nil || token != "token-1" {
				t.Fatalf("got %q and %v", token, err)
			}
			if s.end == s.end.Round(0) || s.refresh == s.refresh.Round(0) {
				t.Error("got an end without a monotonic reading")
			}
			if off := s.end.Sub(before) - tt.life; off < -time.Minute || off > time.Minute {
				t.Errorf("got a life of %v, want %v", s.end.Sub(before), tt.life)
			}
		})
	}
}
