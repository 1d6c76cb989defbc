package client

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"os"
	"time"

	"github.com/postrider/postrider/smtp"
)

// errPremature is the error of a host that sends a reply before a command.
var errPremature = errors.New("the host replied before it got a command")

// watch makes the end of ctx abort reads and writes, until unwatch is called with the returned func.
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
		c.spoiled = true // abort has run, or will run at any moment
	}
}

func (c *Conn) abort() { c.nc.SetDeadline(time.Unix(1, 0)) }

// arm sets the deadline of the next reads and writes: after d, and not after c.until.
func (c *Conn) arm(ctx context.Context, d time.Duration) {
	deadline := time.Now().Add(d)
	if !c.until.IsZero() && c.until.Before(deadline) {
		deadline = c.until
	}
	c.nc.SetDeadline(deadline)
	if ctx.Err() != nil {
		c.abort() // its deadline may have come before the one above, which replaced it
	}
}

// write sends commands. All earlier ones must be answered. The deadline, after d, holds for the first reply too.
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

// lastWords returns the reply that a host sent before it stopped reading. If there is none it returns err, with which a
// write has failed.
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

// premature returns nil if the host has sent no reply before the next command. It returns the reply if that is a 421,
// which a host may send at any time (RFC 5321 §3.8), and errPremature otherwise.
func (c *Conn) premature() error {
	if !c.unread() {
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

// waiting returns the lines of replies that the host has sent and that weren't read so far; the last may be a part of
// one. Lines without a code are no replies: smtp.ReadReply skips them before the next one.
func (c *Conn) waiting() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		b, _ := c.br.Peek(c.br.Buffered())
		for line := range bytes.Lines(b) {
			if isDigit(line[0]) && !yield(line) {
				return
			}
		}
	}
}

// unread reports whether the host has sent a reply, or a part of one, that wasn't read so far.
func (c *Conn) unread() bool {
	for range c.waiting() {
		return true
	}
	return false
}

// heard reports whether the next reply can be read without waiting.
func (c *Conn) heard() bool {
	for line := range c.waiting() {
		if line[len(line)-1] == '\n' && len(line) >= 4 && line[3] != '-' && isDigit(line[1]) && isDigit(line[2]) {
			return true
		}
	}
	return false
}

// surplus returns the failure of a host that has sent more replies than it got commands, once the replies to all
// commands were read: nobody knows which of its replies was the one to a command. A 421 doesn't count: see premature.
func (c *Conn) surplus(ctx context.Context, stage smtp.Stage) *failure {
	for line := range c.waiting() {
		if !bytes.HasPrefix(line, []byte("421")) {
			return c.failed(ctx, stage, errPremature)
		}
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// read reads the next reply, within d.
func (c *Conn) read(ctx context.Context, d time.Duration) (*smtp.Reply, error) {
	return c.readUnless(ctx, d, nil)
}

// RFC 5321 §4.2, §4.3.2: a code that a command isn't known to have counts by its first digit.

// positive reports whether a command is done, whatever the two other digits are.
func positive(code int) bool { return code/100 == 2 }

// goAhead reports whether the host waits for the content, or in AUTH for a response.
func goAhead(code int) bool { return code/100 == 3 }

// readUnless is read, but returns nil for a hoped reply. Most replies are hoped and not kept, so that saves
// allocations.
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
		c.spoiled = true // RFC 5321 §3.8: the host closes the connection after it
	}
	return r, nil
}

func (c *Conn) nextReply(hoped func(code int) bool) (*smtp.Reply, error) {
	if hoped != nil && !c.traces() {
		r, irregular, err := smtp.ReadReplyUnless(c.br, hoped)
		c.irregular = c.irregular || irregular
		return r, err
	}
	r, err := c.readReply()
	if err == nil && hoped != nil && hoped(r.Code) {
		return nil, nil
	}
	return r, err
}

// readReply reads one reply, and strikes the responses of AUTH out of it. Some hosts repeat commands that they don't
// know, and replies get into traces, errors, results and reports. Challenges stay whole, since they get into none of
// these.
func (c *Conn) readReply() (*smtp.Reply, error) {
	r, irregular, err := smtp.ReadReplyUnless(c.br, func(int) bool { return false })
	if err != nil {
		return nil, err
	}
	c.irregular = c.irregular || irregular
	for _, secret := range c.responses {
		if !c.secret || !goAhead(r.Code) {
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
