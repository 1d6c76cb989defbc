package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"io"
	"net/mail"
	"os"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

// AddMissing returns a Sender that adds a Date and a Message-ID to messages without them, as a submission server does
// (RFC 6409 §8.2, §8.3), and sends them by next. A [Submission] does so by itself, unless LeaveIncomplete is set. In
// postrider.Relay.Wrap, AddMissing goes around a dkim.Signer: a field that is added later breaks the signature.
//
//	relay.Wrap = func(next smtp.Sender) smtp.Sender { return client.AddMissing(signer.Wrap(next)) }
//
// It goes around a bounce.VERP, too: otherwise the Message-ID has the domain of the signed reverse-paths.
//
// A message from a queue gets the same Message-ID at every attempt and for every destination, and the time in the
// Received field on top, if there is one, as its Date. The right side of the Message-ID is the domain of the
// reverse-path or, if that is null, the name of this machine.
//
// These messages stay as they are: those with a DKIM-Signature, those with a header of over 1 MiB or one that can't be
// read, and those of strangers (see [smtp.Origin.IsStranger]).
//
// The Sender has a method Check, which calls that of next if it has one.
func AddMissing(next smtp.Sender) smtp.Sender { return &completing{next} }

type completing struct{ next smtp.Sender }

// Check is called by postrider.Relay.Check.
func (s *completing) Check(ctx context.Context) error { return checkNext(ctx, s.next) }

// checkNext calls the Check of a Sender, if it has one.
func checkNext(ctx context.Context, s smtp.Sender) error {
	if s, ok := s.(interface{ Check(context.Context) error }); ok {
		return s.Check(ctx)
	}
	return nil
}

// Send implements smtp.Sender.
func (s *completing) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	if env != nil && c != nil {
		c = withMissing(ctx, env, c)
	}
	return s.next.Send(ctx, env, c)
}

func withMissing(ctx context.Context, env *smtp.Envelope, c smtp.Content) smtp.Content {
	job, queued := smtp.JobOf(ctx)
	if queued && job.Origin.IsStranger() {
		return c
	}
	top, dropped, err := header.Read(smtp.NewReader(c))
	if err != nil { // next returns it, or sends the message as it is
		return c
	}
	date := time.Now()
	fields, _ := header.Fields(top)
	for i, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		switch strings.ToLower(strings.TrimRight(name, " \t\r\n")) {
		case "dkim-signature":
			return c
		case "received":
			if received, ok := receivedDate(value); ok && queued && i == 0 {
				date = received
			}
		}
	}
	add := header.AppendMissing(nil, top, date, func() string {
		id := rand.Text()
		if queued {
			sum := sha256.Sum256(append([]byte(job.ID+"\n"), top...))
			id = base32.StdEncoding.EncodeToString(sum[:16])[:26]
		}
		return id + "@" + messageIDHost(env.From)
	})
	if len(add) == 0 {
		return c
	}
	if !header.Begins(top) {
		add = append(add, "\r\n"...) // else the text would read as part of our field
	}
	return header.OnTop(string(add), io.NewSectionReader(c, int64(dropped), c.Size()-int64(dropped)))
}

// receivedDate returns the time in a Received field (RFC 5321 §4.4).
func receivedDate(value string) (time.Time, bool) {
	date, err := mail.ParseDate(strings.TrimSpace(value[strings.LastIndexByte(value, ';')+1:]))
	return date, err == nil
}

func messageIDHost(from string) string {
	_, domain := smtp.SplitAddress(from)
	name, _ := os.Hostname()
	for _, host := range []string{domain, name} {
		if ascii, err := smtp.ASCIIDomain(host); err == nil {
			return ascii
		}
	}
	return "localhost"
}
