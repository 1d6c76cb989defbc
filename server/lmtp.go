package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"

	"github.com/postrider/postrider/smtp"
)

// LMTPHandler is implemented by a Handler whose recipients may have different results. With [Server.LMTP], the server
// calls HandleLMTP in place of Handle.
type LMTPHandler interface {
	// HandleLMTP is Handle with a reply for each recipient: replies[i] is that of env.Recipients[i]. A nil reply
	// accepts, and is sent as 250 2.0.0. Without an error and without replies, all recipients are accepted. An error
	// refuses those without a reply; without an error, they are answered 451 4.3.0 if others have one. The Handler is
	// responsible for the message for the recipients that it accepted, and for no other (RFC 2033 §4.2). If the body is
	// invalid or ends early, it is so for none, whatever the replies are.
	HandleLMTP(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (replies []*smtp.Reply, err error)
}

// handle passes the message on, and returns the verdict: one reply, or over LMTP one for each recipient of the client.
func (s *session) handle(ctx context.Context, verb string, body *bodyReader) []*smtp.Reply {
	replies, err := s.receive(ctx, body)
	if body.err != nil { // the message is void, and the Handler's error is about that
		bad, _ := errors.AsType[*smtp.Reply](body.err)
		return s.forAll(bad)
	}
	if _, each := s.srv.Handler.(LMTPHandler); each && s.srv.LMTP {
		return s.verdicts(ctx, verb, replies, err)
	}
	var reply *smtp.Reply // nil if a check has the message discarded
	if len(replies) > 0 {
		reply = replies[0]
	}
	return s.forAll(s.verdict(ctx, verb, reply, err))
}

// verdicts returns the replies to a message, from the results of HandleLMTP.
func (s *session) verdicts(ctx context.Context, verb string, replies []*smtp.Reply, err error) []*smtp.Reply {
	if err != nil && len(replies) == 0 {
		return s.forAll(s.verdict(ctx, verb, nil, err)) // also for those that a check has removed
	}
	n := len(s.env.Recipients)
	if len(replies) > n {
		s.note(ctx, slog.LevelError, "handler failed", "verb", verb, "err", "more replies than recipients")
		replies = replies[:n]
	}
	all := make([]*smtp.Reply, 0, n)
	for _, r := range replies {
		all = append(all, s.verdict(ctx, verb, r, nil))
	}
	if len(all) < n {
		rest := err
		if rest == nil && len(all) > 0 {
			rest = errNoReply
		}
		all = append(all, slices.Repeat([]*smtp.Reply{s.verdict(ctx, verb, nil, rest)}, n-len(all))...)
	}
	s.reportLost(ctx, all)
	return s.forSent(all)
}

// reportLost reports each recipient that a check has added and that the Handler refuses: no reply to the client is
// about it, unless it replaces one that a check removed.
func (s *session) reportLost(ctx context.Context, replies []*smtp.Reply) {
	for i, r := range s.env.Recipients {
		if s.visit != nil && !replies[i].Positive() && !slices.Contains(s.sent, r) {
			s.visit.report(ctx, Finding{"", "content", "the recipient " + r.Address +
				", which a check has added, is refused: " + replies[i].Error(), nil})
		}
	}
}

// forSent returns the replies for the recipients that the client has sent, in their order. A check may have changed
// those of the envelope. One that it removed may have been replaced by those that it added: it is accepted if these
// are.
func (s *session) forSent(replies []*smtp.Reply) []*smtp.Reply {
	if slices.Equal(s.sent, s.env.Recipients) {
		return replies
	}
	index := make(map[smtp.Recipient]int, len(replies))
	for i, r := range s.env.Recipients {
		index[r] = i
	}
	removed := smtp.NewReply(250, "2.0.0", "ok")
	for i, r := range s.env.Recipients {
		if removed.Positive() && !replies[i].Positive() && !slices.Contains(s.sent, r) {
			removed = replies[i]
		}
	}
	sent := make([]*smtp.Reply, len(s.sent))
	for i, r := range s.sent {
		sent[i] = removed
		if at, ok := index[r]; ok {
			sent[i] = replies[at]
		}
	}
	return sent
}

var errNoReply = errors.New("HandleLMTP returned fewer replies than recipients")

// forAll returns a reply as that to the message: over LMTP once for each recipient (RFC 2033 §4.2), over SMTP once.
func (s *session) forAll(r *smtp.Reply) []*smtp.Reply {
	if !s.srv.LMTP {
		s.one[0] = r
		return s.one[:]
	}
	return slices.Repeat([]*smtp.Reply{r}, len(s.sent))
}

// answerAll sends the replies to a message. Together they count as one error at most.
func (s *session) answerAll(ctx context.Context, verb string, replies []*smtp.Reply) {
	for _, r := range replies {
		s.reply(ctx, verb, r)
		if len(s.out) > maxPending && s.flushWithin(s.limit) != nil {
			s.done = true
			return
		}
	}
	s.count(slices.ContainsFunc(replies, (*smtp.Reply).Permanent))
}
