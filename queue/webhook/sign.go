package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The prefixes of keys, and of signatures, in Standard Webhooks.
const (
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"

	v1  = "v1,"  // HMAC-SHA256
	v1a = "v1a," // Ed25519
)

// tolerance is how far the time of a request may be from that of the receiver.
const tolerance = 5 * time.Minute

// Bounds on what Verify reads.
const (
	maxID         = 256
	maxSignatures = 4 << 10 // octets
)

// NewSecret returns a secret of 32 random octets for HMAC-SHA256: "whsec_" and base64. The receiver needs the same one.
func NewSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return secretPrefix + base64.StdEncoding.EncodeToString(b)
}

// key is a key that signs or verifies.
type key struct {
	secret  []byte
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// parseSecret reads a key that signs. No error has a part of it.
func parseSecret(s string) (key, error) {
	text, ok := strings.CutPrefix(s, privatePrefix)
	if !ok {
		return parseShared(s)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err == nil && len(b) == ed25519.SeedSize:
		return key{private: ed25519.NewKeyFromSeed(b)}, nil
	case err == nil && len(b) == ed25519.PrivateKeySize:
		return key{private: b}, nil
	}
	return key{}, errors.New("it is no base64 of an Ed25519 private key of 64 octets, or a seed of 32")
}

// parseShared reads a secret that both sides have.
func parseShared(s string) (key, error) {
	text, ok := strings.CutPrefix(s, secretPrefix)
	if !ok {
		return key{}, errors.New(`it doesn't begin with "whsec_" or "whsk_": make one by NewSecret`)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) < 24 || len(b) > 64 {
		return key{}, errors.New("it is no base64 of 24 to 64 octets: make one by NewSecret")
	}
	return key{secret: b}, nil
}

// parseVerifier reads a key that verifies: a secret, or a public key.
func parseVerifier(s string) (key, error) {
	text, ok := strings.CutPrefix(s, publicPrefix)
	if !ok {
		return parseShared(s)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return key{}, errors.New("it is no base64 of an Ed25519 public key of 32 octets")
	}
	return key{public: b}, nil
}

// sign returns the value of webhook-signature: a signature for each secret, separated by spaces.
func sign(id string, at time.Time, body []byte, secrets []string) (string, error) {
	var signatures []string
	content := signed(id, strconv.FormatInt(at.Unix(), 10), body)
	for i, secret := range secrets {
		k, err := parseSecret(secret)
		if err != nil {
			return "", fmt.Errorf("webhook: Secrets[%d]: %w", i, err)
		}
		begin, sum := v1, k.mac(content)
		if k.private != nil {
			begin, sum = v1a, ed25519.Sign(k.private, content)
		}
		signatures = append(signatures, begin+base64.StdEncoding.EncodeToString(sum))
	}
	return strings.Join(signatures, " "), nil
}

// signed returns what is signed.
func signed(id, at string, body []byte) []byte { return []byte(id + "." + at + "." + string(body)) }

func (k *key) mac(content []byte) []byte {
	m := hmac.New(sha256.New, k.secret)
	m.Write(content)
	return m.Sum(nil)
}

// Verify returns nil if one of the keys has signed the request, within 5 minutes of now. A key is a secret that both
// sides have ("whsec_…"), or the public key of Ed25519 ("whpk_" and base64 of 32 octets). body is the whole body of the
// request, as it arrived: bound it, for example by http.MaxBytesReader to 1 MiB. A key that can't be read is an error.
//
// The same request may arrive again: drop those whose webhook-id was seen before.
func Verify(h http.Header, body []byte, keys ...string) error {
	id, at, signatures := h.Get("webhook-id"), h.Get("webhook-timestamp"), h.Get("webhook-signature")
	switch {
	case id == "" || at == "" || signatures == "":
		return errors.New("webhook: webhook-id, webhook-timestamp or webhook-signature is missing")
	case len(id) > maxID || strings.Contains(id, ".") || len(signatures) > maxSignatures:
		return errors.New("webhook: webhook-id or webhook-signature is too long or malformed")
	case len(keys) == 0:
		return errors.New("webhook: there is no key to verify by")
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != at {
		return fmt.Errorf("webhook: webhook-timestamp is %.40q: it must be seconds since 1970", at)
	}
	if off := time.Since(time.Unix(seconds, 0)); off > tolerance || off < -tolerance {
		off = off.Round(time.Second)
		return fmt.Errorf("webhook: webhook-timestamp is %v from now: only %v are allowed", off, tolerance)
	}
	content := signed(id, at, body)
	for i, text := range keys {
		k, err := parseVerifier(text)
		if err != nil {
			return fmt.Errorf("webhook: key %d: %w", i, err)
		}
		for s := range strings.FieldsSeq(signatures) {
			if k.verifies(content, s) {
				return nil
			}
		}
	}
	return errors.New("webhook: no signature is by one of the keys")
}

// verifies reports whether a signature, with its version, is by the key. Other versions are skipped.
func (k *key) verifies(content []byte, signature string) bool {
	begin := v1
	if k.public != nil {
		begin = v1a
	}
	text, ok := strings.CutPrefix(signature, begin)
	sum, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return false
	}
	if k.public != nil {
		return ed25519.Verify(k.public, content, sum)
	}
	return hmac.Equal(sum, k.mac(content))
}
