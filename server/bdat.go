package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"

	"github.com/postrider/postrider/smtp"
)

// Errors that end a body between two of its chunks.
var (
	// errWithdrawn: the client gave the message up, by the command in session.withdrawn.
	errWithdrawn = fmt.Errorf("the client gave the message up: %w", io.ErrUnexpectedEOF)

	// errOver: the last reply of the session was given.
	errOver = fmt.Errorf("the session ended within the message: %w", io.ErrUnexpectedEOF)
)

// isBDAT reports whether a line begins as BDAT does. If it can't be read, the octets that follow aren't commands.
func isBDAT(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	return len(line) >= 4 && equalASCII(line[:4], "BDAT")
}

// bdat runs BDAT (RFC 3030 §2). The first chunk of a message passes it to the Handler, which reads all of them. A chunk
// that is refused is read and discarded, and ends the transaction.
func (s *session) bdat(ctx context.Context, line []byte, args string) {
	chunk, ok := s.chunk(ctx, line, args)
	if !ok {
		return
	}
	switch {
	case s.refused:
		s.discard(ctx, chunk, "503 5.5.1 this session was refused, only QUIT is allowed") // RFC 5321 §3.1
	case s.failed:
		s.discard(ctx, chunk, "503 5.5.1 the message was refused")
	case s.env == nil:
		s.discard(ctx, chunk, "503 5.5.1 send MAIL first")
	case len(s.env.Recipients) == 0 && s.asked > 0 && !s.srv.LMTP: // RFC 2033 §4.2: there it is 503
		s.discard(ctx, chunk, "554 5.5.1 no valid recipients") // RFC 5321 §3.3
	case len(s.env.Recipients) == 0:
		s.discard(ctx, chunk, "503 5.5.1 send RCPT first")
	case chunk.Size > s.srv.maxSize():
		s.discard(ctx, chunk, "552 5.3.4 message too big") // RFC 1870 §6.3
	default:
		s.chunks(ctx, chunk)
	}
}

// chunk parses BDAT and counts it as a command. If it returns false, the session is over. A chunk with octets isn't
// counted while a message comes, as MaxSize bounds these, nor after its refusal, as MaxDrain does.
func (s *session) chunk(ctx context.Context, line []byte, args string) (chunk smtp.Chunk, ok bool) {
	chunk, err := smtp.ParseChunk(args)
	if err != nil || lineFault("BDAT", line) != "" {
		s.refuseChunk(ctx)
		return chunk, false
	}
	bounded := chunk.Size > 0 && (s.env != nil || s.failed)
	if !bounded && !s.expected("BDAT") {
		s.say("421 4.7.0 too many commands")
		s.done, s.abrupt = true, true
		return chunk, false
	}
	return chunk, true
}

// refuseChunk answers a BDAT that can't be read. Nobody knows how many octets follow, so they must not be read as
// commands.
func (s *session) refuseChunk(ctx context.Context) {
	s.refuse(ctx, "BDAT", "501 5.5.4 BDAT needs a size, and after it nothing or LAST")
	s.done, s.abrupt = true, true
}

// discard reads a chunk that is refused (RFC 3030 §2), and ends the transaction: without this chunk, the message would
// not be the one that the client sent. Further chunks that the client had sent by then are discarded, too; together
// they have at most MaxDrain octets.
func (s *session) discard(ctx context.Context, chunk smtp.Chunk, fault string) {
	most, before, again, owed := cmp.Or(s.srv.MaxDrain, s.srv.maxSize()), s.discarded, s.failed, s.owed
	if s.env != nil {
		owed = len(s.env.Recipients)
	}
	replies := 1
	if s.srv.LMTP && chunk.Last && !s.refused {
		replies, owed = owed, 0 // RFC 2033 §4.3: also none, to a client that had no recipient accepted
	}
	refuse := func() {
		for range replies {
			s.say(fault)
		}
		s.note(ctx, slog.LevelDebug, "refused", "verb", "BDAT", "reply", fault)
		s.count(!again) // else the client couldn't know yet: no error of its own
	}
	s.reset(ctx)
	s.failed, s.owed = true, owed
	if chunk.Size > most-before {
		refuse()
		s.done, s.abrupt = true, true
		return
	}
	s.discarded = before + chunk.Size
	s.expectDrain()
	for left := chunk.Size; left > 0; {
		n, err := s.in.Discard(int(min(left, math.MaxInt32)))
		if left -= int64(n); timedOut(err) {
			refuse()
			s.done, s.abrupt = true, true
			return
		} else if err != nil {
			s.handleLine(ctx, nil, err)
			s.done = true
			return
		}
	}
	refuse()
}

// chunks receives a message that begins with this chunk.
func (s *session) chunks(ctx context.Context, chunk smtp.Chunk) {
	s.peer.Allowed = s.allowed // to each recipient, not to the last one
	s.expectData()
	if chunk.Size > 0 {
		if _, err := s.in.Peek(1); err != nil { // a client that leaves now never reaches the Handler
			s.abort(ctx, err)
			return
		}
	}
	next := func() (smtp.Chunk, error) { return s.nextChunk(ctx) }
	body := &bodyReader{chunks: smtp.NewChunkReader(s.in, chunk, next)}
	body.header = headerGuard{s: s, copies: s.headerCopies()}
	body.chunks.MaxSize, body.chunks.MaxLine = s.srv.maxSize(), s.srv.MaxLine
	body.chunks.Binary = s.env.Body == smtp.BodyBinaryMIME
	s.chunking, s.last = true, chunk.Last
	s.take(ctx, "BDAT", body)
}

// nextChunk answers the chunk that was read, and reads the command of the next one, while the Handler waits for the
// body. It runs other commands that may come between: none of them calls the Handler. The wait counts as one for the
// message: see [Server.DataTimeout].
func (s *session) nextChunk(ctx context.Context) (smtp.Chunk, error) {
	s.say("250 2.0.0 chunk received")
	for {
		if len(s.out) > maxPending {
			if err := s.flushWithin(s.limit); err != nil {
				return smtp.Chunk{}, err
			}
		}
		line, err := s.nextLine()
		switch {
		case errors.Is(err, errLineLong), errors.Is(err, errLineEnd), errors.Is(err, errChunkLine):
			s.handleLine(ctx, nil, err)
		case err != nil:
			return smtp.Chunk{}, err
		default:
			verb, args := s.verb(line)
			switch {
			case verb == "BDAT":
				if chunk, ok := s.chunk(ctx, line, args); ok {
					s.last = chunk.Last
					return chunk, nil
				}
			case s.ends(verb, line, args):
				s.withdrawn = line // nothing is read before it is run
				return smtp.Chunk{}, errWithdrawn
			default:
				s.command(ctx, line)
			}
		}
		if s.done {
			return smtp.Chunk{}, errOver
		}
	}
}

// ends reports whether a command ends the transaction. One that is refused changes nothing (RFC 5321 §4.1.4).
func (s *session) ends(verb string, line []byte, args string) bool {
	switch verb {
	case "RSET", "QUIT":
		return args == "" && lineFault(verb, line) == ""
	case "EHLO", "HELO", "LHLO":
		return s.srv.LMTP == (verb == "LHLO") && s.helloName(args) != "" && lineFault(verb, line) == ""
	}
	return false
}
