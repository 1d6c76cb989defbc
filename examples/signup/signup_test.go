package main

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// newShop returns a shop whose relay delivers within an internet in memory. The relay's log is printed if the test
// fails.
func newShop(t *testing.T, inet *smtptest.Network) *Shop {
	relay := &postrider.Relay{
		Hostname:    "shop.test",
		Queue:       mem.New(),
		Resolver:    inet,
		DialContext: inet.DialContext, // without it, the relay would dial real hosts
		Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	inet.Go(relay.Run)
	return &Shop{Name: "Tea & Söhne", From: "shop@shop.test", Relay: relay}
}

func signup(shop *Shop, address string) *httptest.ResponseRecorder {
	form := strings.NewReader(url.Values{"email": {address}}.Encode())
	r := httptest.NewRequest("POST", "/signup", form)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	shop.ServeHTTP(w, r)
	return w
}

func TestSignup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		if w := signup(newShop(t, inet), "ann@example.net"); w.Code != 200 {
			t.Fatalf("got status %d (%s), want 200", w.Code, w.Body)
		}
		mail := host.Wait(1)[0]
		if got := mail.Envelope.Recipients[0].Address; got != "ann@example.net" {
			t.Errorf("got recipient %q, want ann@example.net", got)
		}
		want := "\r\nSubject: =?utf-8?q?Welcome_to_Tea_&_S=C3=B6hne?=\r\n"
		if !strings.Contains(string(mail.Data), want) {
			t.Errorf("no %q in %q", want, mail.Data)
		}
	})
}

func TestSignupWhileHostIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Defer(26*time.Hour, smtp.NewReply(451, "4.7.1", ""))
		signup(newShop(t, inet), "ann@example.net")
		time.Sleep(48 * time.Hour) // virtual
		if n := len(host.Messages()); n != 1 {
			t.Errorf("got %d messages, want 1", n)
		}
	})
}

func TestSignupOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		shop := newShop(t, inet)
		ours := inet.MX("shop.test", "mx.shop.test")
		theirs := inet.MX("example.net", "mx.example.net")
		theirs.Reject("nobody@example.net", smtp.NewReply(550, "5.1.1", "no such user"))
		signup(shop, "nobody@example.net")
		report := ours.Wait(1)[0]
		if report.Envelope.From != "" {
			t.Errorf("got reverse-path %q, want the null one", report.Envelope.From)
		}
		for _, want := range []string{"\r\nFinal-Recipient: rfc822; nobody@example.net\r\n", "\r\nStatus: 5.1.1\r\n"} {
			if !strings.Contains(string(report.Data), want) {
				t.Errorf("no %q in the report:\n%s", want, report.Data)
			}
		}
	})
}

func TestSignupWithABadAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shop := newShop(t, smtptest.NewNetwork(t))
		for _, address := range []string{"", "ann", "ann@", "a b@example.net", "ann@example.net>\r\nDATA"} {
			if w := signup(shop, address); w.Code != 400 {
				t.Errorf("%q: got status %d, want 400", address, w.Code)
			}
		}
	})
}
