package dkim

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/canonical"
	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

// The sections of DKIM2 are those of draft-ietf-dkim-dkim2-spec-06.

// sendDKIM2 sends a message to each recipient by itself, with a signature of its own (DKIM2 §8.6: a recipient mustn't
// learn who else gets a blind copy).
func (s *sender) sendDKIM2(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	hop, err := s.newHop(env, c)
	switch {
	case err != nil:
		return failed(env, err), fmt.Errorf("dkim: %w", err)
	case hop == nil:
		return s.next.Send(ctx, env, c)
	}
	results := make([]smtp.Result, len(env.Recipients))
	var fault error
	for i, rcpt := range env.Recipients {
		one := *env
		one.Recipients = []smtp.Recipient{rcpt}
		var list []smtp.Result
		top, err := hop.fields(env.From, rcpt.Address)
		if err != nil {
			list = failed(&one, keyFault{error: err})
		} else {
			list, err = s.next.Send(ctx, &one, header.OnTop(top, c))
		}
		if err != nil && fault == nil {
			fault = fmt.Errorf("dkim: to %s: %w", rcpt.Address, err)
		}
		one.Recipients = []smtp.Recipient{rcpt} // next may have changed them
		list, _ = smtp.Complete(&one, list, err)
		results[i] = list[0]
	}
	return results, fault
}

// hop is the first hop of a message: that of its originator.
type hop struct {
	key      *Key
	instance string // the Message-Instance field
}

// newHop returns nil if the message isn't signed: without a key for the domain of the reverse-path and that of From, or
// after another hop.
func (s *Signer) newHop(env *smtp.Envelope, c smtp.Content) (*hop, error) {
	d, err := readDraft(c)
	if err != nil {
		return nil, err
	}
	set, err := s.set()
	if err != nil {
		return nil, keyFault{error: err}
	}
	keys, err := set.ofFields(d.fields)
	if err != nil {
		return nil, err
	}
	_, domain := smtp.SplitAddress(env.From)
	domain, _ = smtp.ASCIIDomain(domain)            // "" is that of the null reverse-path, and matches all
	i := slices.IndexFunc(keys, func(k *Key) bool { // §8.8
		return domain == "" || domain == k.asciiDomain() || strings.HasSuffix(domain, "."+k.asciiDomain())
	})
	if i < 0 {
		return nil, nil
	}
	var fields []string
	size := int64(0)
	for _, field := range d.fields {
		size += int64(len(field))
		switch name := canonical.Name(field); {
		case name == "message-instance" || name == "dkim2-signature":
			return nil, nil
		case !isUnsigned(name):
			fields = append(fields, field)
		}
	}
	body := canonical.NewHash(false, -1)
	w := &canonical.Body{Hashes: []*canonical.Hash{body}}
	begin := min(size+2, c.Size())
	if _, err := io.Copy(w, io.NewSectionReader(c, begin, c.Size()-begin)); err != nil {
		return nil, err
	}
	w.End()
	head := headerHash(fields)
	instance := fmt.Sprintf("Message-Instance: m=1;\r\n\th=sha256:%s:\r\n\t %s;\r\n", head, encode(body.Sum(nil)))
	return &hop{keys[i], instance}, nil
}

// unsigned are the fields that aren't signed (DKIM2 §4), in lower case.
var unsigned = []string{
	"apparently-to", "arc-authentication-results", "arc-message-signature", "arc-seal", "authentication-results",
	"auto-submitted", "delivered-to", "dkim-signature", "dl-expansion-history", "original-recipient", "received",
	"return-path", "sio-label-history", "vbr-info", "x400-received", "x400-trace",
}

func isUnsigned(name string) bool {
	return strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "received-") || slices.Contains(unsigned, name)
}

// headerHash returns the hash of the fields (DKIM2 §6.2): by name, and those of one name from the last one upwards.
func headerHash(fields []string) string {
	fields = slices.Clone(fields)
	slices.Reverse(fields)
	slices.SortStableFunc(fields, func(a, b string) int {
		return strings.Compare(canonical.Name(a), canonical.Name(b))
	})
	h := sha256.New()
	for _, field := range fields {
		h.Write(canonical.AppendField(nil, field, true))
	}
	return encode(h.Sum(nil))
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// fields returns the fields to put on top of a message to one recipient (DKIM2 §8, §9.6).
func (h *hop) fields(from, to string) (string, error) {
	kind, _, err := h.key.public()
	if err != nil {
		return "", err
	}
	path := func(address string) string {
		address, _ = smtp.ASCIIAddress(address) // in which it is sent, unless it needs SMTPUTF8
		return encode([]byte("<" + address + ">"))
	}
	field := fmt.Sprintf("DKIM2-Signature: i=1; m=1; t=%d; d=%s;\r\n\tmf=%s;\r\n\trt=%s;\r\n\ts=%s:%s-sha256:",
		time.Now().Unix(), h.key.asciiDomain(), path(from), path(to), h.key.Selector, kind)
	signature, err := h.key.sign(sha256.Sum256([]byte(stripped(h.instance) + stripped(field+";\r\n"))))
	if err != nil {
		return "", err
	}
	return field + "\r\n\t " + fold(encode(signature)) + ";\r\n" + h.instance, nil
}

// stripped returns a field in the form that is signed (DKIM2 §9.6).
func stripped(field string) string {
	name, value, _ := strings.Cut(field, ":")
	return strings.ToLower(name) + ":" + strings.NewReplacer("\r\n", "", " ", "", "\t", "").Replace(value) + "\r\n"
}
