package dkim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Signer signs messages by DKIM (RFC 6376), in the canonical forms relaxed/relaxed and with SHA-256. [Signer.Wrap]
// makes a Sender of it, and [Signer.Check] finds what is wrong with its fields. The fields must not change after the
// first use; [Signer.Switch] replaces the keys. All methods may be called concurrently.
type Signer struct {
	// Keys sign the messages with their Domain in the From field. All keys of a domain sign, for example one with RSA
	// and one with Ed25519. A message with From addresses of several domains is signed by the keys of all of them. A
	// message of a domain without a key is sent unsigned. If there are no Keys, Check returns an error, and messages
	// are Deferred.
	Keys []Key

	// Domains are domains of From that must have a key. Check returns an error for one that has none, and messages from
	// it are Deferred. If nil, no domain must.
	Domains []string

	// Headers are the names of fields that are signed in addition, where a message has them. If nil, the fields are
	// those in the package doc.
	Headers []string

	// Lifetime is the time after which a signature expires (x=), at least an hour. Hosts verify a message on arrival,
	// which may be some days later. If zero, signatures don't expire.
	Lifetime time.Duration

	// MinBits is the least size of RSA keys in bits, 1024 or more. If zero, 2048 (RFC 8301 §3.2).
	MinBits int

	// Keep8Bit leaves bodies as they are that have octets above 127 or lines over 998 octets. Hosts change them on the
	// way, which breaks the signature. If false, they are signed and sent in the form of [smtp.SevenBit] (RFC 6376
	// §5.3), except where that breaks another signature or isn't possible. Headers always stay as they are.
	Keep8Bit bool

	// CacheSize is the number of signatures that are kept, each in 1 to 2 KiB. A message has the same signature for
	// all destinations and attempts, if its signed fields and its body are the same. With a Lifetime, a signature is
	// used for half of it. If zero, 4096; if negative, none is kept.
	CacheSize int

	// DKIM2 signs by DKIM2 as well, and sends a message once for each recipient. It is experimental: a later version
	// may follow another draft, or leave it out. See the package doc.
	DKIM2 bool

	// Resolver looks up the keys for Check and Switch. If nil, [net.DefaultResolver].
	Resolver Resolver

	once  sync.Once
	mu    sync.Mutex
	keys  *keySet
	err   error // the first field that is wrong
	cache *cache
}

// Resolver looks up TXT records. A *net.Resolver and a *dns.Resolver are Resolvers. The strings of a record are joined.
// A name that doesn't exist is a *net.DNSError with IsNotFound. Names have a trailing dot.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Wrap returns a Sender that signs messages and sends them by next. It is a value for postrider.Relay.Wrap and
// client.Submission.Wrap. What changes messages goes around it.
//
// Mail of strangers is sent as it is: see [smtp.Origin.IsStranger]. A message without an smtp.Job is the program's own,
// and is signed.
//
// A message that can't be signed isn't sent. It is Rejected by 554 5.6.0 and the Reason Syntax if the message is at
// fault: it has two From fields, a line in its header that is no field, over 200 fields to sign, or a bare CR, LF or
// NUL. It is Deferred by 451 4.7.5 and the Reason PolicyAuth if the keys are at fault.
//
// The Sender has a method Check, which calls that of the Signer, and that of next if it has one.
func (s *Signer) Wrap(next smtp.Sender) smtp.Sender { return &sender{s, next} }

type sender struct {
	*Signer
	next smtp.Sender
}

// Check is called by postrider.Relay.Check and client.Submission.Check.
func (s *sender) Check(ctx context.Context) error {
	if err := s.Signer.Check(ctx); err != nil {
		return err
	}
	if next, ok := s.next.(interface{ Check(context.Context) error }); ok {
		return next.Check(ctx)
	}
	return nil
}

// Send implements smtp.Sender.
func (s *sender) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	if env == nil || c == nil || !isOurs(ctx) {
		return s.next.Send(ctx, env, c)
	}
	signed, err := s.sign(c)
	if err != nil {
		return failed(env, err), fmt.Errorf("dkim: %w", err)
	}
	if s.DKIM2 {
		return s.sendDKIM2(ctx, env, signed)
	}
	return s.next.Send(ctx, env, signed)
}

// isOurs reports whether a message isn't a stranger's.
func isOurs(ctx context.Context) bool {
	job, queued := smtp.JobOf(ctx)
	return !queued || !job.Origin.IsStranger()
}

// keyFault is an error of the keys, not of the message.
type keyFault struct {
	error
	told string // the part that a reply has, and so a report to a sender
}

func (f keyFault) Unwrap() error { return f.error }

// failed returns the results for a message that can't be signed. Its stage is that of a host which refuses a content,
// so that nothing is concluded about the host.
func failed(env *smtp.Envelope, err error) []smtp.Result {
	r := smtp.Result{Stage: smtp.StageFinal, Local: true, Outcome: smtp.Deferred, Reason: smtp.Temporary}
	reply, isReply := errors.AsType[*smtp.Reply](err)
	fault, isKeys := errors.AsType[keyFault](err)
	switch {
	case isKeys:
		r.Reason, r.Reply = smtp.PolicyAuth, smtp.NewReply(451, "4.7.5", "the message can't be signed now"+fault.told)
	case isReply && reply.Permanent():
		r.Outcome, r.Reason, r.Reply = smtp.Rejected, smtp.Syntax, reply
	default:
		r.Reply = smtp.NewReply(451, "4.3.0", "the message can't be read now")
	}
	results := make([]smtp.Result, len(env.Recipients))
	for i := range results {
		results[i] = r
		results[i].Recipient = env.Recipients[i].Address
	}
	return results
}
