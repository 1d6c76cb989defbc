// Package scram has the parts of SCRAM-SHA-256 (RFC 5802, 7677) that a client and a server share: the keys, the parts
// of a message, the normal form of names and passwords, and the channel bindings.
package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"hash"
	"strings"
)

// The names of the mechanisms.
const (
	SHA256     = "SCRAM-SHA-256"
	SHA256Plus = "SCRAM-SHA-256-PLUS"
)

// MinIterations is the minimum of RFC 7677 §4. With fewer, a password could be guessed from its proof more cheaply.
const MinIterations = 4096

// Keys are the keys of a password for one salt and number of iterations (RFC 5802 §3).
type Keys struct {
	Client, Stored, Server []byte
}

// Derive returns the keys of a password that [Prepare] returned.
func Derive(password string, salt []byte, iterations int) (Keys, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return Keys{}, err
	}
	k := Keys{Client: MAC(salted, "Client Key"), Server: MAC(salted, "Server Key")}
	k.Stored = Hash(k.Client)
	return k, nil
}

// Mask returns the exclusive or of a key, or of a proof, with the client's signature: a proof, or the key (RFC 5802
// §3). key must have 32 octets.
func Mask(key, storedKey []byte, auth string) []byte {
	mask := MAC(storedKey, auth)
	for i := range mask {
		mask[i] ^= key[i]
	}
	return mask
}

// Hash returns the SHA-256 of b.
func Hash(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// MAC returns the HMAC of message with SHA-256.
func MAC(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// Attribute removes the first attribute from a list and returns its value, if it has that name (RFC 5802 §5.1).
func Attribute(list *string, name byte) (value string, ok bool) {
	first, rest, _ := strings.Cut(*list, ",")
	if len(first) < 2 || first[0] != name || first[1] != '=' {
		return "", false
	}
	*list = rest
	return first[2:], true
}

// Name returns s as a saslname: the separators of attributes are escaped (RFC 5802 §5.1).
func Name(s string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s) }

// ParseName returns what a saslname stands for. ok is false if an "=" is no escape.
func ParseName(name string) (s string, ok bool) {
	s = strings.NewReplacer("=3D", "=", "=2C", ",").Replace(name)
	return s, Name(s) == name
}

// Binding is a channel binding, whose name is one that RFC 5056 §7 registers.
type Binding struct {
	Name string
	Data []byte
}

// Bindings returns the channel bindings of a TLS session. The first is the one that a client should use, because a
// server doesn't announce its types, and a wrong choice fails. state may be nil.
func Bindings(state *tls.ConnectionState) []Binding {
	if state == nil || !state.HandshakeComplete {
		return nil
	}
	// RFC 9266 §2: the label, an empty context (in TLS 1.2, not the same as none) and 32 octets.
	exported, err := export(state, "EXPORTER-Channel-Binding", []byte{}, 32)
	return bindings(state.Version, exported, err, state.TLSUnique)
}

// export is state.ExportKeyingMaterial, with an error for a state that a program made, and no connection has: that one
// panics.
func export(state *tls.ConnectionState, label string, context []byte, n int) (b []byte, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the TLS state is of no connection")
		}
	}()
	return state.ExportKeyingMaterial(label, context, n)
}

// EndPoint returns the channel binding tls-server-end-point of a server with this certificate (RFC 5929 §4.1): its hash
// by the algorithm of its signature, or by SHA-256 where that is MD5 or SHA-1. ok is false if the RFC has no hash for
// it.
func EndPoint(cert *x509.Certificate) (b Binding, ok bool) {
	var sum hash.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS,
		x509.ECDSAWithSHA256:
		sum = sha256.New()
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum = sha512.New384()
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum = sha512.New()
	default:
		return Binding{}, false
	}
	sum.Write(cert.Raw)
	return Binding{"tls-server-end-point", sum.Sum(nil)}, true
}

// bindings chooses the types. For TLS 1.3 it is tls-exporter (RFC 9266 §3). For TLS 1.2 tls-unique is the first,
// because every -PLUS has to implement it (RFC 5802 §6.1). Without an extended master secret, an attacker can give two
// sessions the same tls-unique (RFC 7627 §1), so there is no channel binding. The exporter returns an error in this
// case.
func bindings(version uint16, exported []byte, err error, unique []byte) []Binding {
	switch {
	case err != nil:
	case version >= tls.VersionTLS13:
		return []Binding{{"tls-exporter", exported}}
	case version == tls.VersionTLS12 && len(unique) > 0:
		return []Binding{{"tls-unique", unique}, {"tls-exporter", exported}}
	}
	return nil
}
