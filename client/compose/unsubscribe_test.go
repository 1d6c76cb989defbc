package compose

import (
	"context"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

var testKeys = [][]byte{[]byte("a key of 32 octets for the tests"), []byte("an older key of the same program")}

func unsubscriber() *Unsubscribe {
	return &Unsubscribe{URL: "https://news.example/unsubscribe", Keys: testKeys}
}

// TestToken: each key verifies, and a token that was changed doesn't.
func TestToken(t *testing.T) {
	u := unsubscriber()
	s := Subscription{"ann@bücher.example", "weekly.news.example"}
	token, err := u.token(s)
	if err != nil {
		t.Fatal(err)
	}
	want := Subscription{"ann@xn--bcher-kva.example", "weekly.news.example"}
	if got, err := u.Read(token); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	older := &Unsubscribe{URL: u.URL, Keys: testKeys[1:]}
	token2, err := older.token(s)
	if err != nil || token2 == token {
		t.Errorf("got the same token by another key, or %v", err)
	}
	if got, err := u.Read(token2); got != want || err != nil {
		t.Errorf("the older key: got %+v, %v", got, err)
	}
	if got, err := older.Read(token); got != (Subscription{}) || !errors.Is(err, ErrToken) {
		t.Errorf("a newer key: got %+v, %v; want ErrToken", got, err)
	}
	for i := range token {
		c := byte('A')
		if token[i] == c {
			c = 'B'
		}
		changed := token[:i] + string(c) + token[i+1:]
		if _, err := u.Read(changed); !errors.Is(err, ErrToken) {
			t.Errorf("octet %d changed: got %v, want ErrToken", i, err)
		}
	}
	long := base64.RawURLEncoding.EncodeToString(append(sign(testKeys[0], strings.Repeat("a", 900)+"\x00"), strings.Repeat("a", 900)+"\x00"...))
	if _, err := u.Read(long); !errors.Is(err, ErrToken) {
		t.Errorf("a token that no link has: got %v, want ErrToken", err)
	}
	if _, err := u.token(Subscription{"no address", ""}); err == nil {
		t.Error("got a token for no address")
	}
}

func TestUnsubscribeCheck(t *testing.T) {
	for _, tt := range []struct {
		name string
		u    Unsubscribe
		want string
	}{
		{"good", *unsubscriber(), ""},
		{"no TLS", Unsubscribe{URL: "http://news.example/", Keys: testKeys}, "URL"},
		{"no host", Unsubscribe{URL: "https:///x", Keys: testKeys}, "URL"},
		{"a space", Unsubscribe{URL: "https://news.example/a b", Keys: testKeys}, "URL"},
		{"a bracket", Unsubscribe{URL: "https://news.example/>", Keys: testKeys}, "URL"},
		{"the name of the token", Unsubscribe{URL: "https://news.example/?l=1&u=2", Keys: testKeys}, "URL"},
		{"no URL", Unsubscribe{Keys: testKeys}, "URL"},
		{"no key", Unsubscribe{URL: "https://news.example/"}, "Keys is empty"},
		{"a short key", Unsubscribe{URL: "https://news.example/", Keys: [][]byte{[]byte("short")}}, "Keys[0] has 5 octets"},
		{"no address", Unsubscribe{URL: "https://news.example/", Keys: testKeys, Mailto: "x"}, "Mailto"},
		{"an address with a query", Unsubscribe{URL: "https://news.example/", Keys: testKeys, Mailto: "a?b@c.example"}, "Mailto"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.u.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), "Unsubscribe."+tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestUnsubscribeField: the fields of RFC 8058, and no encoded-word in them.
func TestUnsubscribeField(t *testing.T) {
	m := simple()
	m.ListID = "weekly.news.example"
	m.Unsubscribe = unsubscriber()
	m.Unsubscribe.URL += "?lang=de"
	m.Unsubscribe.Mailto = "leave@news.example"
	_, s := mustCompose(t, m)
	p, err := readStrict(s)
	if err != nil {
		t.Fatal(err)
	}
	s1 := Subscription{"ann@example.net", m.ListID}
	link, _ := m.Unsubscribe.Link(s1)
	token, _ := m.Unsubscribe.token(s1)
	want := "<" + link + ">, <mailto:leave@news.example?subject=unsubscribe%20" + token + ">"
	if got := p.get("List-Unsubscribe"); got != want || !strings.HasPrefix(link, "https://news.example/unsubscribe?lang=de&u=") {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := p.get("List-Unsubscribe-Post"); got != "List-Unsubscribe=One-Click" {
		t.Errorf("got %s", got)
	}
	m.To[0].Address = strings.Repeat("a", 480) + "@example.net"
	m.ListID = strings.Repeat("a", 300) + ".example"
	if _, _, err := m.Compose(); err == nil || !strings.Contains(err.Error(), "the link has ") {
		t.Errorf("got %v, want that the link is too long", err)
	}
	m.To[0].Address, m.ListID = "ann@example.net", strings.Repeat("a", 500)+".example"
	m.Unsubscribe.Mailto = "leave@" + strings.Repeat(strings.Repeat("a", 60)+".", 3) + "example"
	if _, _, err := m.Compose(); err == nil || !strings.Contains(err.Error(), "make a link of ") {
		t.Errorf("got %v, want that the link with the address is too long", err)
	}
}

// TestOneClick: a POST as mail programs send it unsubscribes, a GET asks, and nothing else does anything.
func TestOneClick(t *testing.T) {
	var got []Subscription
	var fails error
	u := unsubscriber()
	u.Handle = func(_ context.Context, s Subscription) error {
		got = append(got, s)
		return fails
	}
	link, err := u.Link(Subscription{"ann@example.net", "weekly.news.example"})
	if err != nil {
		t.Fatal(err)
	}
	const form, other = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
	const multipartBody = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n"
	for _, tt := range []struct {
		name, method, url, kind, body string
		fails                         error
		code                          int
		calls                         int
		want                          string // in the page
	}{
		{"one click", "POST", link, form, "List-Unsubscribe=One-Click", nil, 200, 1, "ann@example.net is unsubscribed from weekly.news.example"},
		{"one click, multipart", "POST", link, other, multipartBody, nil, 200, 1, "is unsubscribed"},
		{"a scanner", "GET", link, "", "", nil, 200, 0, "Unsubscribe ann@example.net from weekly.news.example?"},
		{"a scanner, HEAD", "HEAD", link, "", "", nil, 200, 0, ""},
		{"in the query", "POST", link + "&List-Unsubscribe=One-Click", form, "", nil, 400, 0, "missing"},
		{"another value", "POST", link, form, "List-Unsubscribe=no", nil, 400, 0, "missing"},
		{"a large body", "POST", link, form, "x=" + strings.Repeat("x", maxPost) + "&List-Unsubscribe=One-Click", nil, 400, 0, "missing"},
		{"a forged token", "POST", link[:len(link)-2] + "xx", form, "List-Unsubscribe=One-Click", nil, 404, 0, "isn't valid"},
		{"no token", "GET", "https://news.example/unsubscribe", "", "", nil, 404, 0, "isn't valid"},
		{"another method", "DELETE", link, "", "", nil, 405, 0, ""},
		{"a full disk", "POST", link, form, "List-Unsubscribe=One-Click", errors.New("secret reason"), 503, 1, "try again later"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, fails = nil, tt.fails
			r := httptest.NewRequest(tt.method, tt.url, strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			w := httptest.NewRecorder()
			u.ServeHTTP(w, r)
			body := w.Body.String()
			if w.Code != tt.code || len(got) != tt.calls || !strings.Contains(body, tt.want) || strings.Contains(body, "secret") {
				t.Errorf("got %d, %d calls, %s; want %d, %d calls, %s", w.Code, len(got), body, tt.code, tt.calls, tt.want)
			}
			if len(w.Result().Cookies()) > 0 || w.Header().Get("Location") != "" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("got the header %v", w.Header())
			}
			for _, s := range got {
				if s != (Subscription{"ann@example.net", "weekly.news.example"}) {
					t.Errorf("got %+v", s)
				}
			}
		})
	}
	u.Page = template.Must(template.New("").Parse("{{.Address}} {{.Done}}"))
	w := httptest.NewRecorder()
	u.ServeHTTP(w, httptest.NewRequest(http.MethodGet, link, nil))
	if got := w.Body.String(); got != "ann@example.net false" {
		t.Errorf("a page of one's own: got %q", got)
	}
	u.Handle = nil
	w = httptest.NewRecorder()
	if u.ServeHTTP(w, httptest.NewRequest(http.MethodGet, link, nil)); w.Code != 503 {
		t.Errorf("without Handle: got %d, want 503", w.Code)
	}
}

// FuzzUnsubscribe: only what an Unsubscribe has made calls Handle.
func FuzzUnsubscribe(f *testing.F) {
	u := unsubscriber()
	calls := 0
	u.Handle = func(context.Context, Subscription) error { calls++; return nil }
	token, err := u.token(Subscription{"ann@example.net", "weekly.news.example"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("u="+token, "List-Unsubscribe=One-Click")
	f.Add("u=AAAA", "List-Unsubscribe=One-Click")
	f.Add("u="+token+"&u=x", "List-Unsubscribe=One-Click&List-Unsubscribe=x")
	f.Fuzz(func(t *testing.T, query, body string) {
		r := httptest.NewRequest(http.MethodPost, "https://news.example/unsubscribe", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		before := calls
		w := httptest.NewRecorder()
		u.ServeHTTP(w, r)
		if calls > before && r.URL.Query().Get("u") != token || (calls > before) != (w.Code == 200) {
			t.Errorf("query %q: got %d calls, status %d", query, calls-before, w.Code)
		}
	})
}
