package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client/preflight"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// newTestShop returns a shop whose relay delivers within an internet in memory.
func newTestShop(t *testing.T, inet *smtptest.Network) *Shop {
	q := mem.New()
	shop := NewShop(&postrider.Relay{
		Hostname:    "shop.example.com",
		Queue:       q,
		Resolver:    inet,
		DialContext: inet.DialContext, // without it, the relay would dial real hosts
		Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, q)
	inet.Go(shop.relay.Run)
	return shop
}

// put orders a tea.
func put(shop *Shop, number int, email string) *httptest.ResponseRecorder {
	form := strings.NewReader(url.Values{"email": {email}, "item": {"Green tea (1 kg)"}, "cents": {"1750"}}.Encode())
	r := httptest.NewRequest("PUT", fmt.Sprintf("/orders/%d", number), form)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	shop.Handler().ServeHTTP(w, r)
	return w
}

// page returns the page about an order.
func page(t *testing.T, shop *Shop, number, code int) string {
	t.Helper()
	w := httptest.NewRecorder()
	shop.Handler().ServeHTTP(w, httptest.NewRequest("GET", fmt.Sprintf("/admin/orders/%d", number), nil))
	if w.Code != code {
		t.Errorf("got status %d, want %d: %s", w.Code, code, w.Body)
	}
	return w.Body.String()
}

// TestOrder: the customer gets one mail with the invoice, however often the order is put.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		shop := newTestShop(t, inet)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if w := put(shop, 17, "ann@example.net"); w.Code != 200 {
					t.Errorf("got status %d (%s), want 200", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		host.Wait(1)
		time.Sleep(time.Hour)
		put(shop, 17, "ann@example.net") // after the mail has left
		time.Sleep(time.Hour)
		mails := host.Messages()
		if len(mails) != 1 {
			t.Fatalf("got %d mails, want 1", len(mails))
		}
		pdf := attachment(t, mails[0].Data)
		if !bytes.HasPrefix(pdf, []byte("%PDF-1.4\n")) || !bytes.Contains(pdf, []byte(`(Green tea \(1 kg\): 17.50 EUR) Tj`)) {
			t.Errorf("got attachment %q", pdf)
		}
		if got := page(t, shop, 17, 200); !strings.Contains(got, "ann@example.net: delivered, mx.example.net said: 250") {
			t.Errorf("got page %s", got)
		}
		if w := put(shop, 17, "bob@example.net"); w.Code != 409 {
			t.Errorf("another customer: got status %d (%s), want 409", w.Code, w.Body)
		}
		if err := shop.place(t.Context(), Order{17, "ann@example.net", "Coffee", 900}); err == nil || shop.orders[17].Item != "Green tea (1 kg)" {
			t.Errorf("another item: got %v and %+v, want an error and the first order", err, shop.orders[17])
		}
		if got := page(t, shop, 18, 404); strings.Contains(got, "left") {
			t.Errorf("got page %s", got)
		}
	})
}

// attachment returns the last part of a mail.
func attachment(t *testing.T, data []byte) []byte {
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	var last []byte
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := r.NextPart()
		if err == io.EOF {
			return last
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.Header.Get("Content-Transfer-Encoding") == "base64" {
			last, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
		} else {
			last, err = io.ReadAll(part)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhyItWaits: the page says why the mail isn't there yet, and then what became of it.
func TestWhyItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Defer(2*time.Hour, smtp.NewReply(452, "4.2.2", "<b>mailbox</b> full"))
		shop := newTestShop(t, inet)
		put(shop, 17, "ann@example.net")
		time.Sleep(time.Minute)
		got := page(t, shop, 17, 200)
		for _, want := range []string{"The mail waits", "mx.example.net: 452 4.2.2 &lt;b&gt;mailbox&lt;/b&gt; full", "<dd>1</dd>", "<dt>Until</dt>", "<dt>Why</dt><dd>"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %s", want, got)
			}
		}
		t.Log(got)
		time.Sleep(48 * time.Hour)
		if got := page(t, shop, 17, 200); !strings.Contains(got, "ann@example.net: delivered") || strings.Contains(got, "waits") {
			t.Errorf("got page %s", got)
		}
	})
}

// TestNobody: the page says that the customer's address is wrong.
func TestNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("shop.example.com", "mx.shop.example.com")
		inet.MX("example.net", "mx.example.net").Reject("nobody@example.net", smtp.NewReply(550, "5.1.1", "no such user"))
		shop := newTestShop(t, inet)
		put(shop, 17, "nobody@example.net")
		time.Sleep(time.Hour)
		if got := page(t, shop, 17, 200); !strings.Contains(got, "nobody@example.net: rejected, mx.example.net said: 550 5.1.1") {
			t.Errorf("got page %s", got)
		}
	})
}

// TestBadOrders: nothing is sent for what is no order.
func TestBadOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shop := newTestShop(t, smtptest.NewNetwork(t))
		for _, email := range []string{"", "ann", "a b@example.net", "ann@example.net>\r\nBcc: bob@example.net"} {
			if w := put(shop, 17, email); w.Code != 400 {
				t.Errorf("%q: got status %d, want 400", email, w.Code)
			}
		}
		if w := put(shop, 0, "ann@example.net"); w.Code != 400 {
			t.Errorf("order 0: got status %d, want 400", w.Code)
		}
	})
}

// fullQueue is a queue that has no room while full is true.
type fullQueue struct {
	*mem.Queue
	full bool
}

func (q *fullQueue) EnqueueOnce(ctx context.Context, m queue.Message) (queue.ID, bool, error) {
	if q.full {
		return "", false, fmt.Errorf("/var/spool/shop: %w", syscall.ENOSPC)
	}
	return q.Queue.EnqueueOnce(ctx, m)
}

// TestQueueFails: the order isn't at fault. It is taken once the queue works again.
func TestQueueFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fullQueue{Queue: mem.New(), full: true}
		shop := NewShop(&postrider.Relay{Hostname: "shop.example.com", Queue: q}, q)
		w := put(shop, 17, "ann@example.net")
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "spool") {
			t.Errorf("got status %d (%s), want 503 with Retry-After and nothing of the inside", w.Code, w.Body)
		}
		page(t, shop, 17, 404)
		q.full = false
		if w := put(shop, 17, "ann@example.net"); w.Code != 200 {
			t.Errorf("got status %d (%s), want 200", w.Code, w.Body)
		}
	})
}

// TestLetter: large receivers take the mail as it is.
func TestLetter(t *testing.T) {
	env, content, err := letter(Order{Number: 17, Email: "ann@example.net", Item: "Grüner Tee", Cents: 1750})
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	preflight.Test(t, new(preflight.Checker).Message(env, content))
}
