package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/canonical"
	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

// maxFields bounds the names in h=. Verifiers look at no more: each costs them time.
const maxFields = 200

// oversigned are fields that are signed once more than they are there, so that one that is added breaks the signature
// (RFC 6376 §8.15): those that readers show or act on.
var oversigned = []string{
	"from", "subject", "date", "to", "cc", "reply-to", "mime-version", "content-type", "content-transfer-encoding",
	"list-unsubscribe", "list-unsubscribe-post", // RFC 8058 §4: both must be signed
}

// signed are fields that are signed where they are (RFC 6376 §5.4.1). Other hosts may add them.
var signed = []string{
	"sender", "message-id", "in-reply-to", "references", "resent-date", "resent-from", "resent-to", "resent-cc",
	"list-id", "list-help", "list-subscribe", "list-post", "list-owner", "list-archive", "feedback-id",
}

// draft is a message that may be signed.
type draft struct {
	content smtp.Content // from the first field on
	fields  []string     // of its header, with their line ends
	rest    string       // the line after them: "" or the empty line, or one that is no field
	froms   int          // how many From fields
}

func readDraft(c smtp.Content) (d draft, err error) {
	top, dropped, err := header.Read(smtp.NewReader(c))
	if err != nil {
		return draft{}, err
	}
	fields, rest := header.Fields(top)
	for _, field := range fields {
		if canonical.Name(field) == "from" {
			d.froms++
		}
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	d.content, d.fields, d.rest = c, fields, string(line)
	if dropped > 0 {
		d.content = io.NewSectionReader(c, int64(dropped), c.Size()-int64(dropped))
	}
	return d, nil
}

// malformed returns the error of a message that no verifier would read as we do (RFC 6376 §5.3).
func malformed(format string, args ...any) error {
	return smtp.NewReply(554, "5.6.0", "the message can't be signed: "+fmt.Sprintf(format, args...))
}

func (d *draft) check() error {
	switch {
	case d.froms > 1: // RFC 5322 §3.6
		return malformed("it has %d From fields", d.froms)
	case d.rest != "" && d.rest != "\r": // each reader ends the header at another place
		return malformed("a line of its header is no field: %+.60q", d.rest)
	}
	return nil
}

// sign returns the content with signatures on top, or as it is if there is no key for it.
func (s *Signer) sign(c smtp.Content) (smtp.Content, error) {
	set, err := s.set()
	if err != nil {
		return nil, keyFault{error: err}
	}
	d, err := readDraft(c)
	if err != nil {
		return nil, err
	}
	keys, err := set.ofFields(d.fields)
	if err != nil || len(keys) == 0 {
		return c, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	if d, err = s.prepare(d); err != nil {
		return nil, err
	}
	return s.signBy(keys, d)
}

// prepare returns a message in the form in which it is signed: with lines, and in 7 bits unless Keep8Bit is set.
func (s *Signer) prepare(d draft) (draft, error) {
	facts, err := smtp.ScanBinary(d.content)
	if err != nil {
		return draft{}, err
	}
	if (facts.EightBitBody || facts.LongLine) && !s.Keep8Bit {
		converted, broken, err := smtp.SevenBit(d.content)
		if _, isReply := errors.AsType[*smtp.Reply](err); err != nil && !isReply {
			return draft{}, err
		}
		if err == nil && !broken {
			if d, err = readDraft(converted); err != nil {
				return draft{}, err
			}
		}
	}
	if facts.Binary { // unless it is in base64 now
		if _, err := smtp.Scan(d.content); err != nil {
			return draft{}, err
		}
	}
	return d, nil
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// signBy returns the message with a signature by each key.
func (s *Signer) signBy(keys []*Key, d draft) (smtp.Content, error) {
	names, err := s.names(d.fields)
	if err != nil {
		return nil, err
	}
	k := cacheKey{header: canonical.HeaderSum(d.fields, names, true, -1, "")}
	size := int64(0)
	for _, field := range d.fields {
		size += int64(len(field))
	}
	if d.rest == "" {
		// There is no body. The end of the message also has to end the header, for all readers.
		end := "\r\n"
		if last := d.fields[len(d.fields)-1]; !strings.HasSuffix(last, "\n") {
			end = "\r\n\r\n"
		}
		d.content = strings.NewReader(strings.Join(d.fields, "") + end)
	}
	body := canonical.NewHash(true, -1)
	w := &canonical.Body{Relaxed: true, Hashes: []*canonical.Hash{body}}
	begin := min(size+2, d.content.Size())
	buf := buffers.Get().(*[32 << 10]byte)
	_, err = io.CopyBuffer(w, io.NewSectionReader(d.content, begin, d.content.Size()-begin), buf[:])
	buffers.Put(buf)
	if err != nil {
		return nil, err
	}
	w.End()
	body.Sum(k.body[:0])

	top := ""
	now := time.Now()
	for _, k.key = range keys {
		e := s.cache.get(k, now)
		e.once.Do(func() { e.field, e.err = s.field(k, d.fields, names, now) })
		if e.err != nil {
			s.cache.drop(k, e)
			return nil, keyFault{error: fmt.Errorf("the key %s: %w", k.key.Name(), e.err)}
		}
		top += e.field
	}
	return header.OnTop(top, d.content), nil
}

// names returns the names in h=.
func (s *Signer) names(fields []string) (names []string, err error) {
	count := make(map[string]int)
	for _, field := range fields {
		count[canonical.Name(field)]++
	}
	add := func(name string, n int) {
		for ; n > 0 && len(names) <= maxFields; n-- {
			names = append(names, name)
		}
		delete(count, name) // so that a name in Headers is there once
	}
	for _, name := range oversigned {
		add(name, count[name]+1)
	}
	for _, list := range [][]string{signed, s.Headers} {
		for _, name := range list {
			name = strings.ToLower(name)
			add(name, count[name])
		}
	}
	if len(names) > maxFields {
		return nil, malformed("it has over %d fields that are signed", maxFields)
	}
	return names, nil
}

const maxColumn = 76

// field returns the DKIM-Signature field with its line end (RFC 6376 §3.5).
func (s *Signer) field(k cacheKey, fields, names []string, now time.Time) (string, error) {
	kind, _, err := k.key.public()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "DKIM-Signature: v=1; a=%s-sha256; c=relaxed/relaxed; t=%d;", kind, now.Unix())
	if s.Lifetime > 0 {
		fmt.Fprintf(&b, " x=%d;", now.Add(s.Lifetime).Unix())
	}
	fmt.Fprintf(&b, "\r\n\td=%s; s=%s;\r\n\th=", k.key.asciiDomain(), k.key.Selector)
	column := len("\th=")
	for i, name := range names {
		if i > 0 {
			b.WriteByte(':')
			if column++; column+len(name) >= maxColumn {
				b.WriteString("\r\n\t ")
				column = len("\t ")
			}
		}
		b.WriteString(name)
		column += len(name)
	}
	fmt.Fprintf(&b, ";\r\n\tbh=%s;\r\n\tb=", base64.StdEncoding.EncodeToString(k.body[:]))
	sum := canonical.HeaderSum(fields, names, true, -1, b.String())
	signature, err := k.key.sign(sum)
	if err != nil {
		return "", err
	}
	b.WriteString(fold(base64.StdEncoding.EncodeToString(signature)) + "\r\n")
	return b.String(), nil
}

// fold folds base64.
func fold(text string) string {
	var b strings.Builder
	for ; len(text) > maxColumn-4; text = text[maxColumn-4:] {
		b.WriteString(text[:maxColumn-4] + "\r\n\t ")
	}
	return b.String() + text
}

// sign signs a sum. For both algorithms, that is what is signed (RFC 8463 §3).
func (k *Key) sign(sum [sha256.Size]byte) (signature []byte, err error) {
	if err := k.expired(); err != nil {
		return nil, err
	}
	options := crypto.SignerOpts(crypto.SHA256)
	if _, ok := k.Private.Public().(ed25519.PublicKey); ok {
		options = crypto.Hash(0)
	}
	if p := guard.Call(func() { signature, err = k.Private.Sign(rand.Reader, sum[:], options) }); p != nil {
		return nil, p
	}
	return signature, err
}
