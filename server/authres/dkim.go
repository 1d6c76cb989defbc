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
	for len(top) > 0 && header.BeginsField(top) {
		end := header.FieldEnd(top)
		fields, top = append(fields, string(top[:end])), top[end:]
	}
	return fields, io.MultiReader(bytes.NewReader(bytes.TrimPrefix(top, crlf)), r), nil
}

// hiddenFields returns the lines of a header from the first one on that is no field, such as "no colon" or a folded
// name. For DKIM, they begin the body. But many programs go on to the empty line, and show a From that they find there.
func hiddenFields(content smtp.Content) (fields []string, err error) {
	top, _, err := header.Read(smtp.NewReader(content))
	if err != nil || !header.Begins(top) {
		return nil, err
	}
	for hidden := false; len(top) > 0 && !bytes.HasPrefix(top, crlf); {
		end := header.FieldEnd(top)
		if hidden = hidden || !header.BeginsField(top); hidden {
			fields = append(fields, string(top[:end]))
		}
		top = top[end:]
	}
	return fields, nil
}

// fieldName returns the name of a field in lower case.
func fieldName(field string) string {
	name, _, _ := strings.Cut(field, ":")
	return strings.ToLower(strings.TrimRight(name, " \t\r\n"))
}

// verify verifies the signatures. It reads the body once. An error is that of the body.
func (v *dkim) verify(ctx context.Context) ([]Signature, error) {
	var list []*signature
	for i, field := range v.fields {
		if fieldName(field) != "dkim-signature" {
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
	canonical := [2]canonicalBody{{}, {relaxed: true}}
	writers := []io.Writer{}
	for i := range canonical {
		c := &canonical[i]
		for _, s := range list {
			if s.Err != nil || s.body.relaxed != c.relaxed {
				continue
			}
			// One hash for all signatures that need the same.
			same := slices.IndexFunc(c.hashes, func(h *bodyHash) bool { return h.limit == s.body.limit })
			if same < 0 {
				c.hashes = append(c.hashes, s.body)
			} else {
				s.body = c.hashes[same]
			}
		}
		if len(c.hashes) > 0 {
			writers = append(writers, c)
		}
	}
	if len(writers) == 0 {
		return nil
	}
	_, err := io.Copy(io.MultiWriter(writers...), &ctxReader{ctx, v.body})
	for i := range canonical {
		canonical[i].end()
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
	if s.body.limit > s.body.size {
		return verdictError{Fail, errors.New("the body is shorter than l=")}
	}
	if subtle.ConstantTimeCompare(s.body.hash.Sum(nil), s.sum) != 1 {
		return verdictError{Fail, errors.New("the body has changed")}
	}
	if !s.key.verify(v.headerSum(s), s.signature) {
		return verdictError{Fail, errors.New("the signed header fields have changed, or the signature is forged")}
	}
	if s.body.limit >= 0 && s.body.limit < s.body.size {
		// RFC 6376 §8.2: anything could be appended.
		return verdictError{Policy, errors.New("a part of the body isn't signed (l=)")}
	}
	return nil
}

// headerSum returns the sum of the header fields in h=, and of the signature itself (RFC 6376 §3.7).
func (v *dkim) headerSum(s *signature) (sum [sha256.Size]byte) {
	hash := sha256.New()
	// RFC 6376 §5.4.2: of several fields with a name, the last one is taken first. A name without a field is nothing.
	last := make(map[string][]int)
	for i, field := range v.fields {
		if i != s.field {
			name := fieldName(field)
			last[name] = append(last[name], i)
		}
	}
	for _, name := range s.names {
		if indexes := last[name]; len(indexes) > 0 {
			hash.Write(canonicalField([]byte(v.fields[indexes[len(indexes)-1]]), s.relaxedHeader))
			last[name] = indexes[:len(indexes)-1]
		}
	}
	own := withoutSignature(v.fields[s.field])
	hash.Write(bytes.TrimSuffix(canonicalField([]byte(own+"\r\n"), s.relaxedHeader), crlf))
	hash.Sum(sum[:0])
	return sum
}
