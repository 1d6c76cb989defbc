package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// database is a Store that fails until it is up.
type database struct {
	up      time.Time
	reports map[int]string // by order
	calls   int
	stored  chan int // the order of each report
}

func newDatabase(up time.Time) *database {
	return &database{up: up, reports: make(map[int]string), stored: make(chan int, 10)}
}

func (d *database) store(_ context.Context, order int, report io.Reader) error {
	d.calls++
	if time.Now().Before(d.up) {
		return errors.New("the database is down")
	}
	text, err := io.ReadAll(report)
	if err != nil {
		return err
	}
	d.reports[order] = string(text)
	d.stored <- order
	return nil
}

func newShop(t *testing.T, inet *smtptest.Network, q queue.Queue, db *database) *Shop {
	return NewShop(&postrider.Relay{
		Hostname:    "mail.shop.example",
		Queue:       q,
		Resolver:    inet,
		DialContext: inet.DialContext,
		Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, db.store)
}

// TestReport has the report on a mail that is refused stored, though the database is down for a day.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Reject("nobody@example.net", smtp.NewReply(550, "5.1.1", "no such user"))
		begin := time.Now()
		db := newDatabase(begin.Add(24 * time.Hour))
		shop := newShop(t, inet, mem.New(), db)
		inet.Go(shop.Relay.Run)
		for order, to := range map[int]string{17: "nobody@example.net", 18: "ann@example.net"} {
			if err := shop.Confirm(t.Context(), order, to); err != nil {
				t.Fatal(err)
			}
		}
		if order := <-db.stored; order != 17 {
			t.Errorf("got a report on order %d, want 17", order)
		}
		if late := time.Since(begin) - 24*time.Hour; late > 3*time.Hour {
			t.Errorf("the report was stored %v after the database was up, want at most 3 hours", late)
		}
		if report := db.reports[17]; !strings.Contains(report, "\r\nFinal-Recipient: rfc822; nobody@example.net\r\n") {
			t.Errorf("got %q, want a report on nobody@example.net", report)
		}
		calls := db.calls
		time.Sleep(10 * 24 * time.Hour)
		if len(db.reports) != 1 || db.calls != calls {
			t.Errorf("got %d reports and %d more calls, want 1 and 0", len(db.reports), db.calls-calls)
		}
	})
}

// TestLate has a mail wait for hours: the shop gets no report that it is late.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Defer(12*time.Hour, nil)
		db := newDatabase(time.Now())
		shop := newShop(t, inet, mem.New(), db)
		inet.Go(shop.Relay.Run)
		if err := shop.Confirm(t.Context(), 17, "ann@example.net"); err != nil {
			t.Fatal(err)
		}
		host.Wait(1)
		synctest.Wait()
		if db.calls > 0 {
			t.Errorf("got %d reports, want 0", db.calls)
		}
	})
}

// TestRestart ends the program while the database is down: the report is in the spool, and stored by the next program.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("example.net", "mx.example.net").Reject("nobody@example.net", nil)
		dir, db := t.TempDir(), newDatabase(time.Now().Add(time.Hour))
		run := func(work func(*Shop)) {
			q, err := spool.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			shop := newShop(t, inet, q, db)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- shop.Relay.Run(ctx) }()
			work(shop)
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: got %v", err)
			}
		}
		run(func(shop *Shop) {
			if err := shop.Confirm(t.Context(), 17, "nobody@example.net"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		})
		if db.calls == 0 || len(db.reports) > 0 {
			t.Fatalf("got %d calls and %d reports, want a call that failed", db.calls, len(db.reports))
		}
		run(func(*Shop) {
			if order := <-db.stored; order != 17 {
				t.Errorf("got a report on order %d, want 17", order)
			}
		})
	})
}

// TestReportOfAHost has another host bring a report, and mail for addresses that don't exist.
func TestReportOfAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		l, err := inet.Listen("mail.shop.example:25")
		if err != nil {
			t.Fatal(err)
		}
		db := newDatabase(time.Now())
		shop := newShop(t, inet, mem.New(), db)
		inet.Go(func(ctx context.Context) error { return shop.Relay.Serve(ctx, l) })
		host := &client.Submission{
			Addr: "mail.shop.example:25", TLS: mx.TLSNone, Resolver: inet, DialContext: inet.DialContext,
		}
		defer host.Close()
		for _, test := range []struct {
			name, to string
			want     int // the reply's code
		}{
			{"an order", "order+19@bounces.shop.example", 250},
			{"no number", "order@bounces.shop.example", 550},
			{"no number after the sign", "order+@bounces.shop.example", 550},
			{"zero", "order+0@bounces.shop.example", 550},
			{"more than a number", "order+19x@bounces.shop.example", 550},
			{"another name", "ann@bounces.shop.example", 550},
			{"another domain", "order+19@shop.example", 550},
		} {
			results, err := host.Send(t.Context(), smtp.NewEnvelope("", test.to), smtp.Text("Subject: failed\n\n"))
			if len(results) != 1 || results[0].Reply.Code != test.want {
				t.Errorf("%s: got %v (%v), want %d", test.name, results, err, test.want)
			}
		}
		if order := <-db.stored; order != 19 {
			t.Errorf("got a report on order %d, want 19", order)
		}
		synctest.Wait()
		if len(db.reports) != 1 {
			t.Errorf("got %s, want one report", fmt.Sprint(db.reports))
		}
	})
}
