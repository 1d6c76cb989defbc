package authres

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/postrider/postrider/internal/canonical"
)

const (
	minBits = 1024 // RFC 8301 §3.2
	maxBits = 8192 // more takes too much time
	maxKey  = 4096 // octets of a record
)

// key is a public key of a signer (RFC 6376 §3.6.1).
type key struct {
	public  crypto.PublicKey
	testing bool // t=y
	exact   bool // t=s: i= has the domain of d=
}

// verdictError is an error with the result of a signature (RFC 8601 §2.7.1).
type verdictError struct {
	verdict Verdict
	error
}

func (e verdictError) Unwrap() error { return e.error }

// lookupKey looks up the key of a signature.
func (v *dkim) lookupKey(ctx context.Context, name, algorithm string) (*key, error) {
	if len(name) > 253 {
		return nil, verdictError{PermError, errors.New("the name of the key is too long")}
	}
	texts, err := v.resolver.LookupTXT(ctx, name+".")
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case len(texts) == 1:
		return parseKey(texts[0], algorithm)
	case len(texts) > 1: // RFC 6376 §3.6.2.2: undefined
		return nil, verdictError{PermError, fmt.Errorf("%d keys at %s", len(texts), name)}
	case err == nil || ok && dns.IsNotFound:
		return nil, verdictError{PermError, fmt.Errorf("no key at %s", name)}
	}
	return nil, verdictError{TempError, fmt.Errorf("the key at %s: %w", name, err)}
}

// parseKey parses the record of a key for an algorithm, rsa or ed25519.
func parseKey(text, algorithm string) (*key, error) {
	if len(text) > maxKey {
		return nil, verdictError{Policy, fmt.Errorf("the key has over %d octets", maxKey)}
	}
	tags, err := canonical.ParseTags(text)
	if err != nil {
		return nil, verdictError{PermError, fmt.Errorf("the key: %w", err)}
	}
	if version, ok := tags["v"]; ok && version != "DKIM1" {
		return nil, verdictError{PermError, fmt.Errorf("the key has version %.20q", version)}
	}
	kind := "rsa"
	if k, ok := tags["k"]; ok {
		kind = k
	}
	_, hasHashes := tags["h"]
	_, hasServices := tags["s"]
	switch {
	case kind != algorithm:
		return nil, verdictError{PermError, fmt.Errorf("the key is for %.20q, the signature is %s", kind, algorithm)}
	case hasHashes && !slices.Contains(tags.List("h"), "sha256"):
		return nil, verdictError{PermError, errors.New("the key isn't for sha256")}
	case hasServices && !slices.Contains(tags.List("s"), "*") && !slices.Contains(tags.List("s"), "email"):
		return nil, verdictError{PermError, errors.New("the key isn't for email")}
	case tags["p"] == "":
		return nil, verdictError{PermError, errors.New("the key is revoked")}
	}
	data, err := tags.Base64("p")
	if err != nil {
		return nil, verdictError{PermError, fmt.Errorf("the key: %w", err)}
	}
	public, err := parsePublic(data, kind)
	if err != nil {
		return nil, err
	}
	flags := tags.List("t")
	return &key{public: public, testing: slices.Contains(flags, "y"), exact: slices.Contains(flags, "s")}, nil
}

// parsePublic parses the data of a key. RFC 6376, erratum 3017: an RSA key is a SubjectPublicKeyInfo or an
// RSAPublicKey.
func parsePublic(data []byte, kind string) (crypto.PublicKey, error) {
	if kind == "ed25519" { // RFC 8463 §4
		if len(data) != ed25519.PublicKeySize {
			return nil, verdictError{PermError, errors.New("the key isn't one of Ed25519")}
		}
		return ed25519.PublicKey(data), nil
	}
	public, err := x509.ParsePKIXPublicKey(data)
	if err != nil {
		public, err = x509.ParsePKCS1PublicKey(data)
	}
	rsaKey, ok := public.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, verdictError{PermError, errors.New("the key isn't one of RSA")}
	}
	if bits := rsaKey.N.BitLen(); bits < minBits || bits > maxBits {
		return nil, verdictError{Policy, fmt.Errorf("the key has %d bits: want %d to %d", bits, minBits, maxBits)}
	}
	return rsaKey, nil
}

// verify reports whether signature is one of the data with this sum.
func (k *key) verify(sum [sha256.Size]byte, signature []byte) bool {
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) == nil
	case ed25519.PublicKey: // RFC 8463 §3: of the sum
		return ed25519.Verify(public, sum[:], signature)
	}
	return false
}
