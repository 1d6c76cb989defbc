package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"

	"github.com/postrider/postrider/server/internal/spill"
	"github.com/postrider/postrider/smtp"
)

// data runs DATA: it passes the message to the Handler.
func (s *session) data(ctx context.Context) {
	switch {
	case s.env == nil:
		s.refuse(ctx, "DATA", "503 5.5.1 send MAIL first")
		return
	case s.chunking:
		s.refuse(ctx, "DATA", "503 5.5.1 the message comes by BDAT") // RFC 3030 §2
		return
	case s.env.Body == smtp.BodyBinaryMIME:
		s.refuse(ctx, "DATA", "503 5.5.1 BINARYMIME needs BDAT") // RFC 3030 §3
		return
	case len(s.env.Recipients) == 0 && s.asked > 0 && !s.srv.LMTP: // RFC 2033 §4.2: there it is 503
		s.refuse(ctx, "DATA", "554 5.5.1 no valid recipients") // RFC 5321 §3.3
		return
	case len(s.env.Recipients) == 0:
		s.refuse(ctx, "DATA", "503 5.5.1 send RCPT first")
		return
	}
	s.say("354 end with <CRLF>.<CRLF>")
	s.peer.Allowed = s.allowed // to each recipient, not to the last one
	s.expectData()
	if _, err := s.in.Peek(1); err != nil { // sends the 354; a client that leaves now never reaches the Handler
		s.abort(ctx, err)
		return
	}
	body := &bodyReader{data: *smtp.NewDataReader(s.in), header: headerGuard{s: s, copies: s.headerCopies()}}
	body.data.MaxSize, body.data.MaxLine = s.srv.maxSize(), s.srv.MaxLine
	s.take(ctx, "DATA", body)
}

// take passes a message to the checks and the Handler, and sends the reply to it, or over LMTP the replies.
func (s *session) take(ctx context.Context, verb string, body *bodyReader) {
	if s.srv.LMTP {
		s.sent = slices.Clone(s.env.Recipients)
	}
	replies := s.handle(ctx, verb, body)
	accepted := slices.ContainsFunc(replies, (*smtp.Reply).Positive)
	refused := !accepted && replies[0] != nil // nil: the connection is lost
	if refused {
		s.expectDrain()
	}
	// The rest of the message must never be read as commands, for any reply.
	end := body.drain(cmp.Or(s.srv.MaxDrain, s.srv.maxSize()), accepted)
	if bad, ok := errors.AsType[*smtp.Reply](end); ok {
		replies, accepted = s.forAll(bad), false
	} else if errors.Is(end, smtp.ErrDrain) {
		if accepted {
			replies, accepted = s.forAll(smtp.NewReply(552, "5.3.4", "message too big")), false
		}
		s.done, s.abrupt = true, true
	} else if refused && timedOut(end) {
		s.done, s.abrupt = true, true
	} else if end != nil {
		s.abort(ctx, end)
		return
	}
	if accepted {
		s.errors, s.commands = 0, 0
		s.hasMailed()
	}
	first := replies[max(0, slices.IndexFunc(replies, (*smtp.Reply).Positive))]
	if s.log != nil && s.log.Enabled(ctx, slog.LevelInfo) { // the values, and note, allocate
		s.log.LogAttrs(ctx, slog.LevelInfo, "mail", append([]slog.Attr{slog.String("tx", s.peer.Transaction()),
			slog.String("from", s.env.From), slog.Int("recipients", len(s.env.Recipients)),
			slog.String("reply", first.Error())}, s.attrs...)...)
	}
	if body.chunked() && !s.last {
		replies = replies[:1] // RFC 2033 §4.3: only BDAT with LAST has a reply for each recipient
	}
	s.finish(ctx, first)
	if s.failed = body.chunked() && !accepted; s.failed && !s.last {
		s.owed = len(s.sent)
	}
	s.answerAll(ctx, verb, replies)
}

// receive passes the message to the checks and to the Handler. Unless the Handler is asked by HandleLMTP, there is one
// reply, for all recipients.
func (s *session) receive(ctx context.Context, body io.Reader) (replies []*smtp.Reply, err error) {
	if s.visit != nil {
		store := &spill.Store{Dir: s.srv.TempDir, Take: s.srv.takeTemp}
		defer store.Discard() // after the Handler, or a panic
		defer s.visit.discardBodies()
		inspected, err := s.inspect(ctx, body, store)
		if err != nil {
			return nil, err
		}
		if inspected == nil {
			s.note(ctx, slog.LevelInfo, "mail discarded", "tx", s.peer.Transaction(), "reason", s.visit.marks.discard)
			return nil, nil
		}
		body, ctx = inspected, context.WithValue(ctx, sessionKey{}, s.visit)
		s.peer.Allowed = s.allowed // AddRecipient may have asked about another recipient
	}
	if h, ok := s.srv.Handler.(LMTPHandler); ok && s.srv.LMTP {
		return h.HandleLMTP(ctx, &s.peer, s.env, body)
	}
	s.one[0], err = s.srv.Handler.Handle(ctx, &s.peer, s.env, body)
	return s.one[:], err
}

// bodyReader is the body as the Handler reads it.
type bodyReader struct {
	data   smtp.DataReader
	chunks *smtp.ChunkReader // in place of data, or nil
	header headerGuard
	err    error // what the Handler got from Read, except io.EOF
}

func (b *bodyReader) chunked() bool { return b.chunks != nil }

func (b *bodyReader) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.chunked() {
		n, err = b.chunks.Read(p)
	} else {
		n, err = b.data.Read(p)
	}
	if !b.header.over {
		if reply := b.header.see(p[:n]); reply != nil {
			b.err = reply
			return 0, reply
		}
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// drain discards at most max octets, up to the end of the body. Of a body in chunks that is refused, it reads the
// present chunk only: the refusal is the reply to that one.
func (b *bodyReader) drain(max int64, wanted bool) error {
	switch {
	case !b.chunked():
		return b.data.Drain(max)
	case wanted:
		return b.chunks.Drain(max)
	}
	return b.chunks.DrainChunk(max)
}

// abort ends the session because a message ended early. The rest of the message is never read as commands. Between two
// chunks, a client may give the message up; then the session goes on.
func (s *session) abort(ctx context.Context, err error) {
	s.note(ctx, slog.LevelInfo, "mail aborted", "tx", s.peer.Transaction(), "from", s.env.From, "err", err)
	switch {
	case errors.Is(err, errWithdrawn):
		s.reset(ctx)
		s.command(ctx, s.withdrawn)
		return
	case !errors.Is(err, errOver):
		s.handleLine(ctx, nil, err)
	}
	s.done = true
}

// verdict returns the reply to a message, from the results of Handle.
func (s *session) verdict(ctx context.Context, verb string, reply *smtp.Reply, err error) *smtp.Reply {
	switch {
	case err != nil:
		return s.refusal(ctx, verb, err)
	case reply == nil:
		return smtp.NewReply(250, "2.0.0", "ok")
	case reply.Code >= 200 && reply.Code <= 299:
		return reply
	}
	return s.refusal(ctx, verb, reply)
}
