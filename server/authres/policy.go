package authres

import (
	"context"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/dmarc"
)

// tagName is the field that Enforce and Mark add, by which a mailbox server may file a message as spam.
const tagName = "X-DMARC"

// Enforce is a [Verifier].Policy that does what the owner of the domain in From asks for. A message that fails DMARC is
// refused with 550 5.7.1 for "reject", and gets the field "X-DMARC: quarantine" for "quarantine". Messages of mailing
// lists often fail, so RFC 9989 §5.4 asks not to refuse for this reason alone: prefer [Mark], or a Policy of your own
// that knows exceptions. Nil Results are accepted, as by Mark.
func Enforce(ctx context.Context, s *server.Session, r *Results) error {
	if r != nil && r.DMARC.Code == dmarc.Fail && r.DMARC.Policy == dmarc.Reject {
		return smtp.NewReply(550, "5.7.1", "rejected by the DMARC policy of "+r.DMARC.Domain) // RFC 9989 §7.2
	}
	return Mark(ctx, s, r)
}

// Mark is a [Verifier].Policy that accepts all messages. One that fails DMARC gets the field "X-DMARC: reject" or
// "X-DMARC: quarantine", as the owner of the domain in From asks. Nil Results, those that [Of] returns for a client
// that authenticated, are accepted.
func Mark(_ context.Context, s *server.Session, r *Results) error {
	if r == nil || s == nil {
		return nil
	}
	if p := r.DMARC.Policy; r.DMARC.Code == dmarc.Fail && p != dmarc.NoPolicy {
		s.AddField(server.Field{Name: tagName, Value: " " + string(p)})
	}
	return nil
}
