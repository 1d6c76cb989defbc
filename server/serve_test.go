package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

func TestTwoListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &Server{}
		w := newWorld(t, srv)
		second := newNetwork()
		stopped := make(chan error, 1)
		go func() { stopped <- srv.Serve(context.Background(), second) }()
		p, ok := second.dial("198.51.100.7")
		if !ok {
			t.Fatal("got no second listener, want one")
		}
		c := newClient(t, p)
		c.want(ehlo, "220", "250")
		w.stop() // the end of one context shuts the whole server down
		if err := <-stopped; err != nil {
			t.Errorf("got %v from the second Serve, want nil", err)
		}
		if got := c.take(); !strings.HasPrefix(got, "421 4.3.2 ") {
			t.Errorf("got %q, want 421 4.3.2", got)
		}
	})
}

// faultyListener returns its faults, then accepts.
type faultyListener struct {
	*network
	faults []error
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if len(l.faults) > 0 {
		err := l.faults[0]
		l.faults = l.faults[1:]
		return nil, err
	}
	return l.network.Accept()
}

type temporaryError struct{ error }

func (temporaryError) Temporary() bool { return true }

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full, odd := temporaryError{errors.New("too many open files")}, errors.New("connection aborted")
		l := &faultyListener{newNetwork(), []error{full, odd, full}}
		srv := &Server{Handler: &desk{}, Hostname: "mx.test"}
		stopped := make(chan error, 1)
		start := time.Now()
		go func() { stopped <- srv.Serve(context.Background(), l) }()
		p, _ := l.dial("198.51.100.7")
		if got, want := time.Since(start), (5+10+20)*time.Millisecond; got != want {
			t.Errorf("got a pause of %v, want %v", got, want)
		}
		c := newClient(t, p)
		c.want(talked, "220", "250", "250", "250")

		// A listener that someone has closed ends Serve, but not the running transaction.
		l.faults = []error{&net.OpError{Op: "accept", Err: net.ErrClosed}}
		q, _ := l.dial("198.51.100.7")
		newClient(t, q)
		synctest.Wait()
		c.want(data+body, "354", "250", "421")
		if err := <-stopped; err == nil || !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v from Serve, want the listener's error", err)
		}
	})
}

// TestPanicElsewhere: a panic in one session doesn't affect another.
func TestPanicElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{rcpt: func(p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
			if rcpt.Address == "panic@example.net" {
				panic("no")
			}
			return nil
		}}
		w := newWorld(t, &Server{Handler: d})
		a, b := w.dial(), w.dial()
		a.want(ehlo+mail, "220", "250", "250")
		b.want(ehlo+mail, "220", "250", "250")
		a.want("RCPT TO:<panic@example.net>\r\n", "451")
		time.Sleep(linger)
		if !a.closed() {
			t.Error("got an open connection, want it closed")
		}
		b.want(rcpt+data+body, "250", "354", "250")
	})
}
