package bounce

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// VERP sends each recipient its message under a reverse-path of its own (variable envelope return path). So the address
// that a bounce is sent to names the recipient, whatever the text of the bounce says. The address is signed: to forge a
// bounce, one needs the address that one recipient's host was given, and the bounce is about that recipient alone.
//
//	b+<content, up to 46 characters><signature, 16 characters>@bounces.example.com
//
// The content has the day, the message's ID, the recipient, the Tenant and the Ref: see [Sent] for what is left out of
// a content that is too long. The local part has at most 64 octets (RFC 5321 §4.5.3.1.1). It has letters, digits and
// what Prefix has, and is the same in upper and in lower case, as hosts may change that. It is ASCII for a recipient in
// UTF-8, too.
//
// The signature is an HMAC-SHA256, truncated to 80 bits, the least that RFC 2104 §5 allows. A forger can only try
// addresses at our server: with 1,000 a second for a year and two keys, one of 10^13 forgers finds one address.
//
// The fields must not change after the first call of a method. All methods may be called concurrently.
type VERP struct {
	// Domain is the domain of the addresses. Its mail must come to this program: by its MX and a route to a [Handler].
	Domain string

	// Prefix is how the local part begins, up to 24 characters: "bounces+" for addresses that a mail server hands to
	// its user bounces. Each character over 2 leaves one less for the content. If empty, "b+".
	Prefix string

	// Keys are secrets of at least 16 octets. The first one signs, and all of them verify. To replace a key, put the
	// new one first, and remove the old one after MaxAge. Several programs with the same keys read the addresses of
	// each other.
	Keys [][]byte

	// MaxAge is how long an address is valid. The day on which the address was made is added. If zero, 30 days: hosts
	// return a message within 5 days, and a person may complain some weeks later. The maximum is 10 years.
	MaxAge time.Duration

	// Notify are the reports that other hosts are asked for. They come to Domain, so the NOTIFY of the message, which
	// is for reports to its sender, isn't passed on. If zero, smtp.NotifyFailure.
	Notify smtp.Notify

	// Applies reports whether a message gets signed reverse-paths. Its sender then gets no bounces of other hosts: they
	// go to Domain. If nil, messages from code do (smtp.OriginCode), and those that are sent without a queue. Mail that
	// came in at a port doesn't, also after AUTH: the person who sent it may wait for the bounces. For a program that
	// submits its mail at port 587, set Applies as in the example. A message with the null reverse-path never has a
	// signed one.
	Applies func(ctx context.Context, env *smtp.Envelope) bool
}

// Sent is one message to one recipient, as a signed reverse-path names it.
//
// A content that is too long is made to fit in these steps: Ref is left out, then Tenant; then the recipient is
// replaced by a hash, and the same is tried again; then ID is left out. A recipient of 30 letters and an ID of 6
// characters have room with the Prefix "b+". A capital letter counts as 3, a digit as 1 or 2, and an octet above 127 as
// 3.
type Sent struct {
	// ID, Tenant and Ref are those of the message's smtp.Job. Each of them is empty if there was none, or if it was
	// left out.
	ID, Tenant, Ref string

	// IDLeftOut, TenantLeftOut and RefLeftOut report what had no room. With an ID, a program can look the others up in
	// a table of its own.
	IDLeftOut, TenantLeftOut, RefLeftOut bool

	// Recipient is the address, with its domain as A-labels. If empty, the content has a hash of it: see [Sent.To].
	Recipient string

	// Day is the day in UTC on which the address was made.
	Day time.Time

	hash [hashLen]byte // in symbols, if Recipient is empty

	// hashOf makes the hash of an address. It is a func, so that the key in it isn't printed by a log.
	hashOf func(address string) [hashLen]byte
}

// Errors of [VERP.Read].
var (
	// ErrSignature means that an address wasn't made by this VERP, or that it was changed.
	ErrSignature = errors.New("bounce: the address isn't signed by one of the keys")

	// ErrExpired means that the signature is right, and older than MaxAge.
	ErrExpired = errors.New("bounce: the signed address has expired")
)

// To reports whether the message was sent to the address. The domain may be in any form; the local part must be exactly
// the same. It also compares by the hash. A nil Sent was sent to nobody.
func (s *Sent) To(address string) bool {
	if s == nil {
		return false
	}
	address = canonical(address)
	if s.Recipient != "" || s.hashOf == nil {
		return address == s.Recipient && address != ""
	}
	hash := s.hashOf(address)
	return hmac.Equal(hash[:], s.hash[:])
}

const (
	defaultPrefix = "b+"
	maxPrefix     = 24
	maxLocal      = 64 // RFC 5321 §4.5.3.1.1
	minKey        = 16 // RFC 2104 §3 advises against keys below the length of the output; 128 bits can't be guessed
	macLen        = 16 // in symbols: 80 bits, RFC 2104 §5
	hashLen       = 13 // in symbols: 65 bits
	dayLen        = 3  // in symbols: 15 bits, after which 89 years begin again
	defaultMaxAge = 30 * 24 * time.Hour
	maxMaxAge     = 10 * 365 * 24 * time.Hour
	day           = 24 * time.Hour
)

// Check returns an error for the first field that is wrong.
func (v *VERP) Check() error {
	if _, err := v.domain(); err != nil {
		return err
	}
	prefix := v.prefix()
	if len(prefix) > maxPrefix || smtp.NeedsUTF8(prefix) || smtp.CheckAddress(prefix+"a@example.com") != nil ||
		strings.HasPrefix(prefix, `"`) {
		return fmt.Errorf("bounce: VERP.Prefix %q: set it to up to %d characters of a local part, such as %q",
			prefix, maxPrefix, defaultPrefix)
	}
	if len(v.Keys) == 0 {
		return fmt.Errorf("bounce: VERP.Keys is empty: set it to a secret of at least %d random octets", minKey)
	}
	for i, key := range v.Keys {
		if len(key) < minKey {
			return fmt.Errorf("bounce: VERP.Keys[%d] has %d octets: set it to at least %d random ones",
				i, len(key), minKey)
		}
	}
	switch {
	case v.MaxAge < 0 || v.MaxAge > maxMaxAge:
		return fmt.Errorf("bounce: VERP.MaxAge is %v: set it to more than 0 and at most 10 years, or to 0 for 30 days",
			v.MaxAge)
	case v.Notify&smtp.NotifyNever != 0 && v.Notify != smtp.NotifyNever:
		return fmt.Errorf("bounce: VERP.Notify is %v: NEVER stands alone", v.Notify)
	}
	return nil
}

func (v *VERP) domain() (string, error) {
	if v == nil {
		return "", errors.New("bounce: the VERP is nil: set its Domain and Keys")
	}
	if v.Domain == "" {
		return "", errors.New("bounce: VERP.Domain is empty: set it to a domain whose mail comes here")
	}
	domain, err := smtp.ASCIIDomain(v.Domain)
	if err == nil {
		err = smtp.CheckAddress("a@" + domain)
	}
	if err != nil {
		return "", fmt.Errorf("bounce: VERP.Domain %q: %w: set it to a domain whose mail comes here", v.Domain, err)
	}
	return domain, nil
}

func (v *VERP) prefix() string { return cmp.Or(v.Prefix, defaultPrefix) }

// Address returns the signed reverse-path for one recipient. Of s it uses ID, Tenant, Ref, Recipient and, unless it is
// zero, Day. An error is that of Check, or of a Recipient that is no address.
func (v *VERP) Address(s Sent) (string, error) {
	if err := v.Check(); err != nil {
		return "", err
	}
	if err := smtp.CheckAddress(s.Recipient); err != nil {
		return "", fmt.Errorf("bounce: VERP: %w", err)
	}
	domain, err := v.domain()
	if err != nil {
		return "", err
	}
	if s.Day.IsZero() {
		s.Day = time.Now()
	}
	prefix, key := v.prefix(), v.Keys[0]
	content := text32(encodeSent(s, key, maxLocal-len(prefix)-macLen))
	return prefix + content + signature(key, domain, prefix, content) + "@" + domain, nil
}

// Read returns what the signed address says. The case of its letters doesn't matter. Without an error, it was made by
// Address with one of Keys, for the same Domain and Prefix, at most MaxAge ago. The error is [ErrSignature] or
// [ErrExpired], or that of Check; with ErrExpired, the Sent is returned, too.
func (v *VERP) Read(address string) (*Sent, error) {
	if err := v.Check(); err != nil {
		return nil, err
	}
	content, mac, ok := v.cut(address)
	if !ok {
		return nil, ErrSignature
	}
	domain, err := v.domain()
	if err != nil {
		return nil, err
	}
	var signer []byte
	for _, key := range v.Keys { // all of them, so that the time says nothing
		if hmac.Equal([]byte(signature(key, domain, v.prefix(), content)), []byte(mac)) && signer == nil {
			signer = key
		}
	}
	symbols, ok := symbols32(content)
	if signer == nil || !ok {
		return nil, ErrSignature
	}
	s, ok := decodeSent(symbols, time.Now())
	if !ok { // signed by us, so it is of a program that knows more
		return nil, ErrSignature
	}
	if s.Recipient == "" {
		s.hashOf = func(address string) [hashLen]byte { return recipientHash(signer, address) }
	}
	switch age := time.Since(s.Day); {
	case age < -day: // by a clock that is a day ahead of ours
		return nil, ErrSignature
	case age >= day+cmp.Or(v.MaxAge, defaultMaxAge): // the day of the address counts as whole
		return s, ErrExpired
	}
	return s, nil
}

// Signed reports whether the address has the form of a signed one: our Domain, our Prefix, and a content. The signature
// may be wrong.
func (v *VERP) Signed(address string) bool {
	if v == nil {
		return false
	}
	_, _, ok := v.cut(address)
	return ok
}

// cut returns the content and the signature of an address, in lower case.
func (v *VERP) cut(address string) (content, mac string, ok bool) {
	local, domain := smtp.SplitAddress(address)
	prefix := v.prefix()
	if len(local) > maxLocal || len(local) < len(prefix)+1+dayLen+macLen {
		return "", "", false
	}
	ascii, err := smtp.ASCIIDomain(domain)
	if ours, fault := v.domain(); err != nil || fault != nil || ascii != ours {
		return "", "", false
	}
	if !strings.EqualFold(local[:len(prefix)], prefix) || smtp.NeedsUTF8(local) {
		return "", "", false
	}
	local = strings.ToLower(local[len(prefix):])
	return local[:len(local)-macLen], local[len(local)-macLen:], true
}

// signature returns the truncated MAC as text. The label, the domain and the prefix are in it, so that an address can't
// be used for another purpose of the same key.
func signature(key []byte, domain, prefix, content string) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "postrider verp 1\x00%s\x00%s\x00%s", domain, strings.ToLower(prefix), content)
	return text32(symbolsOf(mac.Sum(nil), macLen))
}

// recipientHash is keyed, so that nobody can look for another address with the same hash.
func recipientHash(key []byte, recipient string) [hashLen]byte {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "postrider verp 1 recipient\x00%s", recipient)
	return [hashLen]byte(symbolsOf(mac.Sum(nil), hashLen))
}

// canonical returns the address with its domain as A-labels. A domain that isn't valid stays as it is.
func canonical(address string) string {
	local, domain := smtp.SplitAddress(address)
	if ascii, err := smtp.ASCIIDomain(domain); err == nil {
		return local + "@" + ascii
	}
	return address
}
