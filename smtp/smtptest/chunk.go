package smtptest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Chunking makes the host offer CHUNKING and accept BDAT (RFC 3030 §2). The reply to the last chunk belongs to
// [smtp.StageFinal], the replies to earlier chunks to [smtp.StageBody]: [Host.Answer], [Host.AnswerRaw],
// [Host.AnswerEarly], [Host.BabbleAt] and [Host.Slow] accept both stages. [Host.CloseAt], [Host.ResetAt] and
// [Host.StallAt] at StageBody act in the middle of any chunk.
//
// The host reads every chunk to its end, even if it refuses it. A refused chunk ends the transaction. If BDAT has no
// valid size, or one far above the largest message, the host replies and closes the connection. A host with
// Offer("CHUNKING") and without Chunking reads the octets of a chunk as commands.
func (h *Host) Chunking() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.chunking = true
	delete(h.lacks, "CHUNKING")
}

// BinaryMIME is [Host.Chunking] with BINARYMIME (RFC 3030 §3): a message with BODY=BINARYMIME may contain any octets,
// and must come by BDAT.
func (h *Host) BinaryMIME() {
	h.Chunking()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.binary = true
	delete(h.lacks, "BINARYMIME")
}

// chunks reports whether the host accepts BDAT.
func (h *Host) chunks() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.chunking && !h.lacks["CHUNKING"]
}

// content is the part of a message that has come by BDAT.
type content struct {
	bytes.Buffer
	chunks int
}

// bdatCmd reads and answers a chunk. It applies the faults itself, because the chunk is a part of the command.
func (s *session) bdatCmd(line, args string) error {
	size, last, err := parseChunk(args)
	if err != nil {
		// The start of the next command is unknown.
		s.say(501, "5.5.4", err.Error())
		return errHangUp
	}
	limit := s.host.limit()
	if size-window > limit {
		s.reply(tooBig(limit))
		return errHangUp
	}
	no := s.unwanted(line, size, limit)
	var dst io.Writer = io.Discard
	if no == nil {
		if done, err := s.interrupt(size > 0); done || err != nil {
			return err
		}
		if s.content == nil {
			s.content = new(content)
		}
		s.content.chunks++
		dst = s.content
	}
	// RFC 3030 §2: a refused chunk is read and discarded.
	if _, err := io.CopyN(dst, s.r, size); err != nil {
		return err
	}
	s.log("C: (%d octets)", size)
	if err := s.behind("BDAT"); err != nil {
		return err
	}
	return s.answerChunk(size, last, no)
}

// parseChunk parses the arguments of BDAT.
func parseChunk(args string) (size int64, last bool, err error) {
	digits, word, more := strings.Cut(args, " ")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, errors.New("BDAT needs a size")
	}
	if more && (len(word) != len("LAST") || !strings.EqualFold(word, "LAST")) {
		return 0, false, errors.New("only LAST may follow the size")
	}
	if size, err = strconv.ParseInt(digits, 10, 64); err != nil {
		return 0, false, errors.New("the size is too large")
	}
	return size, more, nil
}

// unwanted returns the reply to a chunk that the host doesn't accept, or nil.
func (s *session) unwanted(line string, size, limit int64) *smtp.Reply {
	if r := s.host.refusalOf(line); r != nil {
		return r
	}
	var why string
	switch {
	case s.closing:
		why = "only QUIT is accepted"
	case !s.offers["CHUNKING"]:
		why = "CHUNKING wasn't offered"
	case s.env == nil:
		why = "MAIL comes first"
	case len(s.env.Recipients) == 0:
		why = "no recipients"
	case size > limit, s.content != nil && size > limit-int64(s.content.Len()):
		return tooBig(limit)
	default:
		return nil
	}
	return smtp.NewReply(503, "5.5.1", why)
}

// answerChunk answers a chunk that was read. no, if not nil, is its refusal.
func (s *session) answerChunk(size int64, last bool, no *smtp.Reply) error {
	env, got := s.env, s.content
	if last || no != nil {
		s.forget()
	}
	if last {
		m := Message{Envelope: env}
		if no == nil {
			m.Data, m.Chunks = got.Bytes(), got.chunks
			no = s.unfit(m)
		}
		return s.final(m, no)
	}
	if no != nil {
		return s.answer(smtp.StageBody, fault{}, false, no)
	}
	r := smtp.NewReply(250, "2.0.0", fmt.Sprintf("%d octets", size))
	f, amiss := s.host.fault(smtp.StageBody)
	if amiss && f.kind == answers {
		r, amiss = f.reply, false
	}
	if !r.Positive() {
		s.forget()
	}
	return s.answer(smtp.StageBody, f, amiss, r)
}

// unfit returns the reply to a content that is not valid, or nil.
func (s *session) unfit(m Message) *smtp.Reply {
	if m.Envelope.Body == smtp.BodyBinaryMIME {
		return nil
	}
	if m.Chunks > 0 { // RFC 3030 §3: without BINARYMIME, lines end as with DATA
		_, err := smtp.Scan(bytes.NewReader(m.Data))
		if r, ok := errors.AsType[*smtp.Reply](err); ok {
			return r
		}
	}
	if !s.offers["8BITMIME"] && bytes.ContainsFunc(bodyOf(m.Data), func(r rune) bool { return r > 127 }) {
		return smtp.NewReply(554, "5.6.1", "octets above 127 without 8BITMIME") // RFC 6152 §3
	}
	return nil
}

// bodyOf returns what follows the header, or everything if there is no empty line. Most hosts without 8BITMIME accept
// octets above 127 in a header.
func bodyOf(data []byte) []byte {
	if _, body, ok := bytes.Cut(data, []byte("\r\n\r\n")); ok {
		return body
	}
	return data
}

// tooBig is the reply to a message over limit octets.
func tooBig(limit int64) *smtp.Reply {
	return smtp.NewReply(552, "5.3.4", fmt.Sprintf("message exceeds %d octets", limit))
}
