package oauth

import (
	"context"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Wrap returns a Sender around one that authenticates by s. If AUTH fails with 535 for all recipients, which is before
// anything of the message is sent, the token is replaced and the message sent once more: a server may end a token
// before its time, after a change of the password for example. A token younger than a minute isn't replaced.
func (s *Source) Wrap(next smtp.Sender) smtp.Sender {
	return smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		used := s.current()
		results, err := next.Send(ctx, env, c)
		if !unauthenticated(results) || !s.replace(used) {
			return results, err
		}
		return next.Send(ctx, env, c)
	})
}

// unauthenticated reports whether all recipients failed because the host refused the token.
func unauthenticated(results []smtp.Result) bool {
	for _, r := range results {
		// RFC 4954 §6: 535 means that the credentials are invalid.
		if r.Outcome == smtp.Delivered || r.Outcome == smtp.Unknown || r.Stage != smtp.StageAuth || r.Reply == nil ||
			r.Reply.Code != 535 {
			return false
		}
	}
	return len(results) > 0
}

// current returns the version of the token that is kept, and 0 if there is none.
func (s *Source) current() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// replace drops the token of a version that was refused. It reports whether the next one may be accepted.
func (s *Source) replace(version int) bool {
	if s == nil || version == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version != version {
		return true // another goroutine has replaced it, or it expired
	}
	if time.Since(s.got) < minAge {
		return false
	}
	s.token = ""
	return true
}
