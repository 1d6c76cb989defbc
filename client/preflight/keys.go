package preflight

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/dmarc"
)

const (
	minBits  = 1024 // RFC 8301 §3.2
	goodBits = 2048
	maxKey   = 4096 // octets of a record

	shortKeys = "RFC 8301 §3.2; " + gmailPage
)

// checkKeys looks up the keys of the Checker and of the signatures.
func (s *sender) checkKeys(ctx context.Context) {
	keys := slices.Clone(s.checker.Keys)
	for _, f := range s.all("dkim-signature") {
		k, err := signedBy(f.value)
		if err != nil {
			s.refuse(BadSignature, f.name, err.Error(), "sign the mail anew", "RFC 6376 §3.5")
		} else if len(keys) < mostKeys {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		f := Finding{Unsigned, Warning, s.from, "the mail isn't signed by DKIM, and Checker.Keys is empty",
			"sign it, and set Keys", gmailPage + "; " + yahooPage + "; " + microsoftPage + "; " + applePage}
		if s.checker.Bulk {
			f.Severity = Refusal
		}
		s.add(f)
	}
	for i, k := range keys {
		k.Domain, _ = smtp.ASCIIDomain(k.Domain)
		k.Selector, _ = smtp.ASCIIDomain(k.Selector)
		if keys[i] = k; !slices.Contains(keys[:i], k) {
			s.checkKey(ctx, k)
		}
	}
}

// checkKey looks up a key and adds its domain to those that sign.
func (s *sender) checkKey(ctx context.Context, k Key) {
	name := k.Selector + "._domainkey." + k.Domain
	texts, err := s.resolver.LookupTXT(ctx, name+".")
	switch {
	case len(texts) == 0 && err != nil && !isNotFound(err):
		s.failed(name, err)
		s.dkim = append(s.dkim, dmarc.Identifier{Domain: k.Domain, Temporary: true})
		return
	case len(texts) == 0:
		s.refuse(NoKey, name, "there is no key",
			"add the TXT record with the public key, or sign with another selector", "RFC 6376 §3.6.1")
		return
	case len(texts) > 1:
		s.refuse(BadKey, name, fmt.Sprintf("there are %d TXT records", len(texts)), "keep one", "RFC 6376 §3.6.2.2")
		return
	}
	bits, testing, err := parseKey(texts[0])
	switch {
	case err != nil:
		s.refuse(BadKey, name, err.Error(), "correct the record", "RFC 6376 §3.6.1")
		return
	case bits < minBits:
		s.refuse(ShortKey, name, fmt.Sprintf("the key has %d bits", bits), "use one of 2048", shortKeys)
		return
	case bits < goodBits:
		s.warn(ShortKey, name, fmt.Sprintf("the key has %d bits", bits), "use one of 2048", shortKeys)
	}
	if testing {
		s.refuse(TestingKey, name, "t=y says that the domain tests DKIM: receivers may treat the mail as unsigned",
			"remove the flag", "RFC 6376 §3.6.1")
	}
	s.dkim = append(s.dkim, dmarc.Identifier{Domain: k.Domain, Pass: true})
}

// parseKey parses the record of a key (RFC 6376 §3.6.1, RFC 8463 §4). An Ed25519 key has the strength of goodBits.
func parseKey(text string) (bits int, testing bool, err error) {
	if len(text) > maxKey {
		return 0, false, fmt.Errorf("the record has %d octets, want %d at most", len(text), maxKey)
	}
	tags, err := parseTags(text)
	if err != nil {
		return 0, false, err
	}
	if v, ok := tags["v"]; ok && v != "DKIM1" {
		return 0, false, fmt.Errorf("v=%s, want DKIM1", clip(v))
	}
	if h, ok := tags["h"]; ok && !slices.Contains(listOf(h), "sha256") {
		return 0, false, fmt.Errorf("h=%s, and receivers want sha256", clip(h))
	}
	services, ok := tags["s"]
	if list := listOf(services); ok && !slices.Contains(list, "*") && !slices.Contains(list, "email") {
		return 0, false, fmt.Errorf("s=%s, want email or *", clip(services))
	}
	p, ok := tags["p"]
	if !ok || p == "" {
		return 0, false, errors.New("p= is empty: the key is revoked")
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p), ""))
	if err != nil {
		return 0, false, fmt.Errorf("p= isn't base64: %w", err)
	}
	testing = slices.Contains(listOf(tags["t"]), "y")
	switch k := tags["k"]; k {
	case "ed25519":
		if len(data) != ed25519.PublicKeySize {
			return 0, false, fmt.Errorf("p= has %d octets, want %d for k=ed25519", len(data), ed25519.PublicKeySize)
		}
		return goodBits, testing, nil
	case "", "rsa":
	default:
		return 0, false, fmt.Errorf("k=%s, want rsa or ed25519", clip(k))
	}
	public, err := x509.ParsePKIXPublicKey(data)
	if err != nil {
		public, err = x509.ParsePKCS1PublicKey(data) // RFC 6376, erratum 3017
	}
	key, ok := public.(*rsa.PublicKey)
	if err != nil || !ok {
		return 0, false, errors.New("p= isn't an RSA key")
	}
	return key.N.BitLen(), testing, nil
}

// signedBy returns the key of a DKIM-Signature. The signature itself isn't verified: it may be made of the message as
// it will be after the next relay.
func signedBy(value string) (Key, error) {
	tags, err := parseTags(value)
	if err != nil {
		return Key{}, err
	}
	k := Key{Domain: tags["d"], Selector: tags["s"]}
	if !isDomain(k.Domain) || !isDomain(k.Selector) {
		return Key{}, fmt.Errorf("d=%s s=%s are no names", clip(k.Domain), clip(k.Selector))
	}
	if a := tags["a"]; a != "rsa-sha256" && a != "ed25519-sha256" { // RFC 8301 §3.1
		return Key{}, fmt.Errorf("a=%s, want rsa-sha256 or ed25519-sha256", clip(a))
	}
	if !slices.Contains(listOf(strings.ToLower(tags["h"])), "from") { // RFC 6376 §5.4
		return Key{}, fmt.Errorf("h=%s has no From", clip(tags["h"]))
	}
	if x, ok := tags["x"]; ok {
		if at, err := strconv.ParseInt(x, 10, 64); err != nil || at < time.Now().Unix() {
			return Key{}, fmt.Errorf("x=%s: it has expired", clip(x))
		}
	}
	return k, nil
}

// parseTags parses a list of tags (RFC 6376 §3.2).
func parseTags(s string) (map[string]string, error) {
	tags := make(map[string]string)
	for spec := range strings.SplitSeq(strings.TrimRight(s, "; \t\r\n"), ";") {
		name, value, ok := strings.Cut(spec, "=")
		name = strings.TrimSpace(name)
		if _, twice := tags[name]; !ok || name == "" || twice {
			return nil, fmt.Errorf("%s is no tag, or appears twice", clip(strings.TrimSpace(spec)))
		}
		tags[name] = strings.TrimSpace(value)
	}
	return tags, nil
}

// listOf returns the parts of a value that are separated by colons.
func listOf(value string) []string {
	return strings.Split(strings.Join(strings.Fields(value), ""), ":")
}
