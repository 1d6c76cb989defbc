package dkim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/canonical"
)

const (
	defaultBits  = 2048
	defaultCache = 4096
	minLifetime  = time.Hour
)

// Check returns an error for the first field that is wrong, or else one for all keys that have expired, that don't
// sign, or whose record in the DNS is missing or isn't that of the key. The error has a line for each of them, with the
// record to publish. A lookup that fails is no error: the record may be right.
func (s *Signer) Check(ctx context.Context) error {
	set, err := s.set()
	if err != nil {
		return err
	}
	return s.checkPublished(ctx, set.list, false)
}

// Switch replaces the keys, for messages that are sent from now on. It is the second of the three steps in which a key
// is replaced: see the package doc. If Check would return an error for the new keys, or if the DNS doesn't answer,
// Switch returns the error, and the keys stay as they are.
func (s *Signer) Switch(ctx context.Context, keys []Key) error {
	if _, err := s.set(); err != nil {
		return err
	}
	set, err := s.newKeySet(keys)
	if err == nil && len(keys) == 0 {
		err = errNoKeys
	}
	if err != nil {
		return fmt.Errorf("dkim: %w", err)
	}
	if err := s.checkPublished(ctx, set.list, true); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = set
	return nil
}

// set returns the keys. The error is that of the first field that is wrong.
func (s *Signer) set() (*keySet, error) {
	s.once.Do(func() {
		if s.keys, s.err = s.newKeySet(s.Keys); s.err == nil {
			s.err = s.checkFields()
		}
		if s.err != nil {
			s.err = fmt.Errorf("dkim: %w", s.err)
		}
		s.cache = newCache(s.CacheSize, s.Lifetime/2)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, s.err
}

func (s *Signer) checkFields() error {
	for _, name := range s.Headers {
		switch {
		case name == "" || strings.ContainsFunc(name, notInName):
			return fmt.Errorf(`Signer.Headers has %q, which is no name of a field: use one such as "X-Campaign"`, name)
		case slices.Contains(changed, strings.ToLower(name)):
			return fmt.Errorf("Signer.Headers has %q, which hosts add or remove on the way: leave it out", name)
		}
	}
	switch {
	case s.Lifetime != 0 && s.Lifetime < minLifetime:
		return fmt.Errorf("Signer.Lifetime is %v: set it to %v or more, or to 0 for no end", s.Lifetime, minLifetime)
	case s.MinBits != 0 && (s.MinBits < minBits || s.MinBits > maxBits):
		return fmt.Errorf("Signer.MinBits is %d: set it to %d to %d, or to 0 for %d",
			s.MinBits, minBits, maxBits, defaultBits)
	case len(s.Keys) == 0:
		return errNoKeys
	}
	return nil
}

// errNoKeys is the error of a program that has found none: its mail isn't sent unsigned for that.
var errNoKeys = errors.New("there are no Keys: add one, or leave the Signer out")

// notInName: RFC 5322 §3.6.8 for the name of a field, and no ";", which ends h=.
func notInName(c rune) bool { return c <= ' ' || c > '~' || c == ':' || c == ';' }

// changed are fields that hosts add, change or remove (RFC 6376 §5.4).
var changed = []string{
	"return-path", "received", "authentication-results", "dkim-signature", "bcc", "comments", "keywords",
}

// checkPublished checks the age and the records of keys. If strict, a lookup that fails is an error.
func (s *Signer) checkPublished(ctx context.Context, keys []*Key, strict bool) error {
	var wrong []error
	for _, k := range keys {
		if err := s.checkKey(ctx, k, strict); err != nil {
			wrong = append(wrong, fmt.Errorf("dkim: %w", err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(wrong...)
}

// checkKey checks the age and the record of a key.
func (s *Signer) checkKey(ctx context.Context, k *Key, strict bool) error {
	if err := k.expired(); err != nil {
		return err
	}
	if _, err := k.sign([sha256.Size]byte{}); err != nil { // of nothing: does it work?
		return fmt.Errorf("the key %s doesn't sign: %w", k.Name(), err)
	}
	var resolver Resolver = net.DefaultResolver
	if s.Resolver != nil {
		resolver = s.Resolver
	}
	texts, err := resolver.LookupTXT(ctx, k.Name()+".")
	if dns, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || !dns.IsNotFound) {
		if strict || ctx.Err() != nil {
			return fmt.Errorf("the record at %s isn't known: %w", k.Name(), err)
		}
		return nil
	}
	if err := k.checkRecord(texts); err != nil {
		want, _ := k.Record() // check has an error for it
		return fmt.Errorf("the record at %s: %w: publish this TXT record: %s", k.Name(), err, want)
	}
	return nil
}

// checkRecord returns what is wrong with the TXT records at the Name of the key (RFC 6376 §3.6.1).
func (k *Key) checkRecord(texts []string) error {
	if len(texts) == 0 {
		return errors.New("there is none")
	}
	if len(texts) > 1 { // RFC 6376 §3.6.2.2: undefined
		return fmt.Errorf("there are %d: leave one", len(texts))
	}
	tags, err := canonical.ParseTags(texts[0])
	if err != nil {
		return err
	}
	kind, data, err := k.public()
	if err != nil {
		return err
	}
	has := func(name string) bool { _, ok := tags[name]; return ok }
	switch {
	case has("v") && tags["v"] != "DKIM1":
		return fmt.Errorf("the version is %.20q", tags["v"])
	case !has("k") && kind != "rsa":
		return fmt.Errorf("k= is missing, which means rsa, and the key is %s", kind)
	case has("k") && tags["k"] != kind:
		return fmt.Errorf("k=%.20s is another kind of key", tags["k"])
	case has("h") && !slices.Contains(tags.List("h"), "sha256"):
		return errors.New("h= lacks sha256")
	case has("s") && !slices.Contains(tags.List("s"), "*") && !slices.Contains(tags.List("s"), "email"):
		return errors.New("s= lacks email")
	case tags["p"] == "":
		return errors.New("the key is revoked, since p= is empty")
	}
	published, err := tags.Base64("p")
	if err != nil {
		return err
	}
	if kind == "ed25519" && len(published) > ed25519.PublicKeySize && bytes.HasSuffix(published, data) {
		return errors.New("p= has the key with a header: RFC 8463 wants its 32 octets alone")
	}
	// RFC 6376, erratum 3017: an RSA key may be an RSAPublicKey as well.
	rsaKey, err := x509.ParsePKCS1PublicKey(published)
	same := err == nil && kind == "rsa" && rsaKey.Equal(k.Private.Public().(*rsa.PublicKey))
	if !same && !bytes.Equal(published, data) {
		return errors.New("it is that of another key")
	}
	return nil
}
