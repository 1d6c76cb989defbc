package client

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"github.com/postrider/postrider/smtp"
)

// errPremature says that the host spoke before it was asked.
var errPremature = errors.New("the host answered before it was asked")

// watch makes the end of ctx abort what is being read or written, until unwatch is called with what it returns.
func (c *Conn) watch(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return nil
	}
	if c.onEnd == nil {
		c.onEnd = c.abort
	}
	return context.AfterFunc(ctx, c.onEnd)
}

func (c *Conn) unwatch(stop func() bool) {
	if stop != nil && !stop() {
		c.spoiled = true // abort has run or will, whatever we do next
	}
}

func (c *Conn) abort() { c.nc.SetDeadline(time.Unix(1, 0)) }

// arm gives what is read and written next a time to end in.
func (c *Conn) arm(ctx context.Context, d time.Duration) {
	c.nc.SetDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		c.abort() // it may have run before our deadline replaced its own
	}
}

// write sends commands, all earlier ones answered. d is armed, and holds for the first reply too.
func (c *Conn) write(ctx context.Context, d time.Duration, b []byte) error {
	c.arm(ctx, d)
	if err := c.premature(); err != nil {
		return err
	}
	c.traceSent(b)
	if _, err := c.conn.Write(b); err != nil {
		return c.lastWords(ctx, err)
	}
	return nil
}

// lastWords gives the reply that a host left before it stopped reading, or else err, with which a write failed.
func (c *Conn) lastWords(ctx context.Context, err error) error {
	c.spoiled = true
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.arm(ctx, c.Timeouts.quit())
	if r, readErr := c.readReply(); readErr == nil && r.Code >= 400 && r.Code < 600 {
		return r
	}
	return err
}

// premature is not nil if the host has spoken unasked: it is the reply itself if that is 421 (RFC 5321 §3.8).
func (c *Conn) premature() error {
	if c.br.Buffered() == 0 {
		return nil
	}
	if !c.heard() {
		return errPremature
	}
	if r, err := c.readReply(); err == nil && r.Code == 421 {
		return r
	}
	return errPremature
}

// heard reports whether the next reply can be read without waiting.
func (c *Conn) heard() bool {
	b, _ := c.br.Peek(c.br.Buffered())
	for line := range bytes.Lines(b) {
		if line[len(line)-1] == '\n' && (len(line) < 4 || line[3] != '-') {
			return true
		}
	}
	return false
}

// read takes the next reply.
func (c *Conn) read(ctx context.Context, d time.Duration) (*smtp.Reply, error) {
	return c.readUnless(ctx, d, nil)
}

func positive(code int) bool { return code/100 == 2 }

func goAhead(code int) bool { return code == 354 }

// readUnless is read, but gives nil for a reply that is as hoped: nobody keeps it, and most are.
func (c *Conn) readUnless(ctx context.Context, d time.Duration, hoped func(code int) bool) (*smtp.Reply, error) {
	if !c.heard() {
		c.arm(ctx, d)
	}
	r, err := c.nextReply(hoped)
	if err != nil {
		c.spoiled = true
		return nil, err
	}
	if r != nil && r.Code == 421 {
		c.spoiled = true // RFC 5321 §3.8: the host closes behind it
	}
	return r, nil
}

func (c *Conn) nextReply(hoped func(code int) bool) (*smtp.Reply, error) {
	if hoped != nil && !c.traces() {
		return smtp.ReadReplyUnless(c.br, hoped)
	}
	r, err := c.readReply()
	if err == nil && hoped != nil && hoped(r.Code) {
		return nil, nil
	}
	return r, err
}

// readReply reads one reply. What AUTH has said is struck out of it: some hosts repeat what they don't understand, and replies go into
// traces, errors, results and reports. Challenges don't.
func (c *Conn) readReply() (*smtp.Reply, error) {
	r, err := smtp.ReadReply(c.br)
	if err != nil {
		return nil, err
	}
	for _, secret := range c.responses {
		if !c.secret || r.Code != 334 {
			r.Text = strike(r.Text, secret)
		}
	}
	c.traceReceived(r)
	return r, nil
}

// command sends one line, without its CRLF, and reads the reply.
func (c *Conn) command(ctx context.Context, stage smtp.Stage, line string) (*smtp.Reply, *failure) {
	d := c.Timeouts.hello()
	c.out = append(append(c.out[:0], line...), "\r\n"...)
	if err := c.write(ctx, d, c.out); err != nil {
		return nil, c.failed(ctx, stage, err)
	}
	r, err := c.read(ctx, d)
	if err != nil {
		return nil, c.failed(ctx, stage, err)
	}
	return r, nil
}
