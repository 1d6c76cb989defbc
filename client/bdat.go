package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/postrider/postrider/smtp"
)

const (
	defaultChunkSize = 1 << 20
	blockSize        = 64 << 10 // octets of a content that are read and written at a time
)

func (c *Conn) chunkSize() int64 { return cmp.Or(c.ChunkSize, defaultChunkSize) }

// chunks sends the message to the accepted recipients by BDAT (RFC 3030 §2). With PIPELINING, a chunk goes out before
// the reply to the one before it. The last chunk waits for all replies, so that no host commits a part of the message.
func (t *transaction) chunks(ctx context.Context) {
	c := t.c
	c.answered = true
	c.body = pace{}
	size, chunk := t.content.Size(), c.chunkSize()
	if chunk < 0 {
		chunk = size
	}
	content, block := smtp.CheckedReader(t.content), make([]byte, blockSize)
	if t.m.facts.Binary {
		content = smtp.NewReader(t.content)
	}
	sent, heard := 0, 0 // the chunks, and the replies to them
	for off := int64(0); off < size; off += chunk {
		n := min(chunk, size-off)
		last := off+n == size
		ahead := 0
		if c.ext.pipelining && !last {
			ahead = 1
		}
		for sent-heard > ahead {
			heard++
			if !t.chunkReply(ctx, sent-heard) {
				return
			}
		}
		if sent == heard {
			// A reply that is here already would be taken for the one to this chunk, or even to the last chunk.
			if err := c.premature(); err != nil {
				f := c.failed(ctx, smtp.StageBody, err)
				t.bdatBroke(ctx, f)
				t.fail(f)
				return
			}
			t.matched = true
		}
		if f := t.chunk(ctx, content, block, n, last); f != nil {
			// Half a message must not be committed: no further chunk, no RSET, no QUIT.
			c.Close()
			t.bdatBroke(ctx, f)
			t.fail(f)
			return
		}
		sent++
	}
	c.open = false
	t.final(ctx)
}

// chunk sends n octets of the content. After a failure, the connection must be closed.
func (t *transaction) chunk(ctx context.Context, content io.Reader, block []byte, n int64, last bool) *failure {
	c := t.c
	b := strconv.AppendInt(append(block[:0], "BDAT "...), n, 10)
	if last {
		b = append(b, " LAST"...)
	}
	b = append(b, "\r\n"...)
	command := len(b)
	for n > 0 {
		some := min(int64(cap(b)-len(b)), n)
		b = b[:len(b)+int(some)]
		if _, err := io.ReadFull(content, b[len(b)-int(some):]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // shorter than its Size
			}
			if _, ok := errors.AsType[*smtp.ContentError](err); !ok {
				err = &smtp.ContentError{Err: err}
			}
			return c.bodyFailed(ctx, err)
		}
		if command > 0 {
			c.traceSent(b[:command])
		}
		c.traceContent(int(some))
		if _, err := c.writeBlock(ctx, b); err != nil {
			return c.bodyFailed(ctx, err)
		}
		b, n, command = b[:0], n-some, 0
	}
	return nil
}

// chunkReply reads the reply to a chunk that isn't the last one. more is the number of chunks sent after it. It reports
// whether to go on.
func (t *transaction) chunkReply(ctx context.Context, more int) bool {
	c := t.c
	begun := time.Now()
	c.until = c.body.due(begun, c.Timeouts.minDataRate(), c.Timeouts.final())
	r, err := c.read(ctx, c.Timeouts.final())
	c.body.spent += time.Since(begun)
	var f *failure
	switch {
	case err != nil:
		f = c.failed(ctx, smtp.StageBody, err)
	case c.spoiled: // 421
		f = c.said(smtp.StageBody, r)
	case positive(r.Code):
		return true
	case goAhead(r.Code):
		f = c.refused(smtp.StageBody, r)
	}
	for ; f == nil && more > 0; more-- { // RFC 3030 §2: each chunk has a reply; these don't matter any more
		if _, err := c.read(ctx, c.Timeouts.final()); err != nil {
			break // the session is over; the refusal stands
		}
	}
	noBDAT := f == nil && !t.m.facts.Binary && unknownCommand(r)
	if f == nil && !noBDAT {
		f = c.surplus(ctx, smtp.StageBody)
	}
	switch {
	case f != nil:
		t.bdatBroke(ctx, f)
		t.fail(f)
	case noBDAT:
		c.breaks(kwChunking) // the accepted recipients are offered the message again, by DATA
	default:
		t.refuse(smtp.StageBody, r)
	}
	return false
}

// bdatBroke notes that the session failed at BDAT, where DATA might have succeeded.
func (t *transaction) bdatBroke(ctx context.Context, f *failure) {
	if _, own := errors.AsType[*smtp.ContentError](f.cause); f.local && !own && ctx.Err() == nil {
		t.c.breaks(kwChunking)
	}
}

// unknownCommand reports whether a host doesn't know BDAT although it has offered CHUNKING.
func unknownCommand(r *smtp.Reply) bool {
	return r.Code == 500 || r.Code == 502 || r.Code == 503 || r.Code == 504
}
