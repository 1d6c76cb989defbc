package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// Key is a key that signs the messages of a domain. Its public half is in the DNS, at its Name.
type Key struct {
	// Domain is the domain of From that the key signs for, and the d= of the signature.
	Domain string

	// Selector is the name of the key within the domain (s=), such as "2026a".
	Selector string

	// Private is the private key: an *rsa.PrivateKey, an ed25519.PrivateKey, or another signer whose Public method
	// returns an *rsa.PublicKey or an ed25519.PublicKey, of a hardware module for example. It is called concurrently.
	// See [ParsePrivate].
	Private crypto.Signer

	// Subdomains has the key sign for the domains below Domain as well, unless they have keys of their own. For DMARC,
	// these signatures are aligned in relaxed mode only.
	Subdomains bool

	// NotAfter is the time after which the key doesn't sign. If zero, there is none.
	NotAfter time.Time
}

// Name returns the name of the key's record in the DNS, such as "2026a._domainkey.example.com".
func (k Key) Name() string {
	domain, err := smtp.ASCIIDomain(k.Domain)
	if err != nil {
		domain = k.Domain
	}
	return k.Selector + "._domainkey." + domain
}

// String returns the Name, so that a key that is printed doesn't show the private half.
func (k Key) String() string { return k.Name() }

// GoString returns the Name.
func (k Key) GoString() string { return k.Name() }

// Record returns the text of the key's TXT record (RFC 6376 §3.6.1, RFC 8463 §4): "v=DKIM1; k=rsa; p=…". In a zone
// file, a text of over 255 octets is several strings: see [Key.ZoneLine].
func (k Key) Record() (string, error) {
	kind, data, err := k.public()
	if err != nil {
		return "", fmt.Errorf("dkim: %s: %w", k.Name(), err)
	}
	return "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(data), nil
}

// ZoneLine returns the record as a line of a zone file, without a line end.
func (k Key) ZoneLine() (string, error) {
	text, err := k.Record()
	if err != nil {
		return "", err
	}
	line := k.Name() + ". IN TXT ("
	for len(text) > 0 {
		n := min(len(text), 255) // RFC 1035 §3.3
		line, text = line+` "`+text[:n]+`"`, text[n:]
	}
	return line + " )", nil
}

// public returns the public key as it stands in the record.
func (k *Key) public() (kind string, data []byte, err error) {
	if k.Private == nil {
		return "", nil, errors.New("Private is nil: set it to what ParsePrivate returns")
	}
	p := guard.Call(func() { // a key that is nil or zero has none
		switch public := k.Private.Public().(type) {
		case *rsa.PublicKey:
			kind = "rsa"
			data, err = x509.MarshalPKIXPublicKey(public)
		case ed25519.PublicKey:
			kind, data = "ed25519", public
		default:
			err = fmt.Errorf("%T: DKIM has RSA and Ed25519 only", public)
		}
	})
	if p != nil {
		err = p
	}
	if err != nil {
		err = fmt.Errorf("Private has no public key: set it to what ParsePrivate returns: %w", err)
	}
	return kind, data, err
}

const (
	minBits = 1024 // RFC 8301 §3.2: a signer must not use less
	maxBits = 4096 // RFC 8301 §3.2: a verifier needn't take more
)

// check returns what is wrong with the key, except for its age and its record.
func (k *Key) check(bits int) error {
	if domain, err := smtp.ASCIIDomain(k.Domain); err != nil || strings.HasPrefix(domain, "[") {
		return fmt.Errorf("Domain %q is no domain: set it to one of the From fields", k.Domain)
	}
	selector, err := smtp.ASCIIDomain(k.Selector)
	if err != nil || !strings.EqualFold(selector, k.Selector) || strings.HasPrefix(selector, "[") {
		return fmt.Errorf(`Selector %q is no name: set it to one such as "2026a"`, k.Selector)
	}
	if len(k.Name()) > 253 {
		return fmt.Errorf("the name %s is over 253 octets: use a shorter Selector", k.Name())
	}
	if _, _, err := k.public(); err != nil {
		return err
	}
	if public, ok := k.Private.Public().(*rsa.PublicKey); ok {
		if n := public.N.BitLen(); n < bits || n > maxBits {
			return fmt.Errorf("%s has %d bits: use a key of %d to %d bits", k.Name(), n, bits, maxBits)
		}
	}
	return nil
}

// expired returns an error if the key doesn't sign any more.
func (k *Key) expired() error {
	if k.NotAfter.IsZero() || !time.Now().After(k.NotAfter) {
		return nil
	}
	return fmt.Errorf("the key %s expired at %s: use a new one, or a later NotAfter", k.Name(), k.NotAfter)
}

// ParsePrivate parses a private key from a PEM file, in PKCS #8 ("PRIVATE KEY") or PKCS #1 ("RSA PRIVATE KEY"), such as
// these programs make:
//
//	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048
//	openssl genpkey -algorithm ED25519
//	opendkim-genkey, rspamadm dkim_keygen
//
// Text around the first key is skipped. The error doesn't quote the file.
func ParsePrivate(file []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			return nil, errors.New(`dkim: there is no private key in PEM: want a "BEGIN PRIVATE KEY" and its end`)
		}
		var (
			key any
			err error
		)
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("dkim: the private key has a password: decrypt it, by openssl pkey for example")
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, fmt.Errorf("dkim: %.40q: DKIM has RSA and Ed25519 only, in PKCS #8 or PKCS #1", block.Type)
		default: // a certificate, or parameters
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("dkim: the private key can't be read: %w", err)
		}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			return key, nil
		case ed25519.PrivateKey:
			return key, nil
		}
		return nil, fmt.Errorf("dkim: the private key is a %T: DKIM has RSA and Ed25519 only", key)
	}
}
