package authres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/canonical"
	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

const maxSignatures = 8 // that are verified

// dkim verifies the signatures of one message (RFC 6376 §6).
type dkim struct {
	resolver txtResolver
	fields   []string // of the header, as they came, with their line ends
	body     io.Reader
}

type txtResolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// readFields reads the header of a message.
func readFields(content smtp.Content) (fields []string, body io.Reader, err error) {
	r := smtp.NewReader(content)
	top, _, err := header.Read(r)
	if err != nil {
		return nil, nil, err
	}
	fields, top = header.Fields(top)
	return fields, io.MultiReader(bytes.NewReader(bytes.TrimPrefix(top, []byte("\r\n"))), r), nil
}

// hiddenFields returns the lines of a header from the first one on that is no field, such as "no colon" or a folded
// name. For DKIM, they begin the body. But many programs go on to the empty line, and show a From that they find there.
func hiddenFields(content smtp.Content) (fields []string, err error) {
	top, _, err := header.Read(smtp.NewReader(content))
	if err != nil || !header.Begins(top) {
		return nil, err
	}
	for hidden := false; len(top) > 0 && !bytes.HasPrefix(top, []byte("\r\n")); {
		end := header.FieldEnd(top)
		if hidden = hidden || !header.BeginsField(top); hidden {
			fields = append(fields, string(top[:end]))
		}
		top = top[end:]
	}
	return fields, nil
}

// verify verifies the signatures. It reads the body once. An error is that of the body.
func (v *dkim) verify(ctx context.Context) ([]Signature, error) {
	var list []*signature
	for i, field := range v.fields {
		if canonical.Name(field) != "dkim-signature" {
			continue
		}
		s := &signature{field: i}
		list = append(list, s)
		if len(list) > maxSignatures {
			s.Verdict, s.Err = Policy, fmt.Errorf("only %d signatures are verified", maxSignatures)
			break
		}
		v.prepare(ctx, s, field)
	}
	if err := v.hashBody(ctx, list); err != nil {
		return nil, err
	}
	var results []Signature
	for _, s := range list {
		if s.Err == nil {
			s.set(v.check(s))
		}
		results = append(results, s.Signature)
	}
	return results, nil
}

// set sets the verdict to that of an error, or to Pass.
func (s *signature) set(err error) {
	s.Verdict, s.Err = Pass, err
	if e, ok := errors.AsType[verdictError](err); ok {
		s.Verdict = e.verdict
	}
}

// prepare parses a signature and looks up its key.
func (v *dkim) prepare(ctx context.Context, s *signature, field string) {
	_, value, _ := strings.Cut(field, ":")
	err := s.parse(value, time.Now())
	if err == nil {
		algorithm, _, _ := strings.Cut(s.Algorithm, "-")
		s.key, err = v.lookupKey(ctx, s.Selector+"._domainkey."+s.Domain, algorithm)
	}
	if err == nil {
		s.Testing = s.key.testing
		if domain := s.Identity[strings.LastIndexByte(s.Identity, '@')+1:]; s.key.exact &&
			!strings.EqualFold(domain, s.Domain) {
			err = verdictError{PermError, errors.New("the key allows no subdomain in i=")}
		}
	}
	s.set(err)
}

// hashBody computes the hashes of the body that the signatures without an error need.
func (v *dkim) hashBody(ctx context.Context, list []*signature) error {
	forms := [2]canonical.Body{{}, {Relaxed: true}}
	writers := []io.Writer{}
	for i := range forms {
		c := &forms[i]
		for _, s := range list {
			if s.Err != nil || s.body.Relaxed != c.Relaxed {
				continue
			}
			// One hash for all signatures that need the same.
			same := slices.IndexFunc(c.Hashes, func(h *canonical.Hash) bool { return h.Limit == s.body.Limit })
			if same < 0 {
				c.Hashes = append(c.Hashes, s.body)
			} else {
				s.body = c.Hashes[same]
			}
		}
		if len(c.Hashes) > 0 {
			writers = append(writers, c)
		}
	}
	if len(writers) == 0 {
		return nil
	}
	_, err := io.Copy(io.MultiWriter(writers...), &ctxReader{ctx, v.body})
	for i := range forms {
		forms[i].End()
	}
	if err == nil || ctx.Err() == nil {
		return err
	}
	for _, s := range list {
		if s.Err == nil {
			s.set(verdictError{TempError, errors.New("no time was left for the body")})
		}
	}
	return nil
}

// ctxReader is a reader that ends with ctx.
type ctxReader struct {
	ctx context.Context
	io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// check checks the sums of a signature. The error is a verdictError.
func (v *dkim) check(s *signature) error {
	if s.body.Limit > s.body.Octets {
		return verdictError{Fail, errors.New("the body is shorter than l=")}
	}
	if subtle.ConstantTimeCompare(s.body.Sum(nil), s.sum) != 1 {
		return verdictError{Fail, errors.New("the body has changed")}
	}
	if !s.key.verify(v.headerSum(s), s.signature) {
		return verdictError{Fail, errors.New("the signed header fields have changed, or the signature is forged")}
	}
	if s.body.Limit >= 0 && s.body.Limit < s.body.Octets {
		// RFC 6376 §8.2: anything could be appended.
		return verdictError{Policy, errors.New("a part of the body isn't signed (l=)")}
	}
	return nil
}

// headerSum returns the sum of the header fields in h=, and of the signature itself (RFC 6376 §3.7).
func (v *dkim) headerSum(s *signature) (sum [sha256.Size]byte) {
	own := canonical.WithoutSignature(v.fields[s.field])
	return canonical.HeaderSum(v.fields, s.names, s.relaxedHeader, s.field, own)
}
