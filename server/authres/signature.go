package authres

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/canonical"
	"github.com/postrider/postrider/smtp"
)

// maxNames is the number of names in h= that are looked at. Each costs time.
const maxNames = 200

// signature is a DKIM-Signature field (RFC 6376 §3.5).
type signature struct {
	Signature
	field         int // its index in the header
	relaxedHeader bool
	names         []string // h=, in lower case
	sum           []byte   // bh=
	signature     []byte   // b=
	body          *canonical.Hash
	key           *key
}

// parse parses the value of the field. The error is a verdictError.
func (s *signature) parse(value string, now time.Time) error {
	tags, err := canonical.ParseTags(value)
	if err != nil {
		return verdictError{Neutral, err}
	}
	s.Domain, s.Selector, s.Algorithm = strings.ToLower(tags["d"]), tags["s"], tags["a"]
	s.Identity = tags["i"]
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if tags[name] == "" {
			return verdictError{PermError, fmt.Errorf("the tag %s is missing", name)}
		}
	}
	if tags["v"] != "1" {
		return verdictError{Neutral, fmt.Errorf("version %.20q is unknown", tags["v"])}
	}
	if s.Algorithm != "rsa-sha256" && s.Algorithm != "ed25519-sha256" { // RFC 8301 §3.1: no rsa-sha1
		return verdictError{Policy, fmt.Errorf("algorithm %.20q isn't accepted", s.Algorithm)}
	}
	if s.sum, err = tags.Base64("bh"); err != nil {
		return verdictError{Neutral, err}
	}
	if s.signature, err = tags.Base64("b"); err != nil {
		return verdictError{Neutral, err}
	}
	s.Start = strings.Map(func(c rune) rune {
		if canonical.IsSpace(c) {
			return -1
		}
		return c
	}, tags["b"])
	s.Start = s.Start[:min(8, len(s.Start))]
	if err := s.parseDomains(); err != nil {
		return verdictError{PermError, err}
	}
	if err := s.parseNames(tags); err != nil {
		return err
	}
	if err := checkTimes(tags, now); err != nil {
		return err
	}
	return s.parseBody(tags)
}

// parseDomains checks d=, s= and i= (RFC 6376 §3.5, i: below d).
func (s *signature) parseDomains() error {
	domain, err := smtp.ASCIIDomain(s.Domain)
	if err != nil || strings.HasPrefix(domain, "[") {
		return fmt.Errorf("d=%.100q is no domain", s.Domain)
	}
	s.Domain = domain
	if _, err := smtp.ASCIIDomain(s.Selector); err != nil || strings.HasPrefix(s.Selector, "[") {
		return fmt.Errorf("s=%.100q is no selector", s.Selector)
	}
	if s.Identity == "" {
		s.Identity = "@" + domain
		return nil
	}
	at := strings.LastIndexByte(s.Identity, '@')
	below, err := smtp.ASCIIDomain(s.Identity[at+1:])
	if at < 0 || err != nil || below != domain && !strings.HasSuffix(below, "."+domain) {
		return fmt.Errorf("i=%.100q isn't in d=%s", s.Identity, domain)
	}
	return nil
}

// parseNames reads h=, c= and q=.
func (s *signature) parseNames(tags canonical.Tags) error {
	s.names = tags.List("h")
	if len(s.names) > maxNames {
		return verdictError{Policy, fmt.Errorf("h= has over %d names", maxNames)}
	}
	for i := range s.names {
		s.names[i] = strings.ToLower(s.names[i])
	}
	if !slices.Contains(s.names, "from") {
		return verdictError{PermError, errors.New("the From field isn't signed")}
	}
	if _, ok := tags["q"]; ok && !slices.Contains(tags.List("q"), "dns/txt") {
		return verdictError{PermError, errors.New("q= has no known way to look up the key")}
	}
	return nil
}

// parseBody reads c= and l=.
func (s *signature) parseBody(tags canonical.Tags) error {
	header, body := "simple", "simple"
	if c, ok := tags["c"]; ok {
		header, body, ok = strings.Cut(c, "/")
		if !ok {
			body = "simple"
		}
	}
	for _, c := range []string{header, body} {
		if c != "simple" && c != "relaxed" {
			return verdictError{Neutral, fmt.Errorf("canonicalization %.20q is unknown", c)}
		}
	}
	s.relaxedHeader = header == "relaxed"
	limit := int64(-1)
	if l, ok := tags["l"]; ok {
		n, err := strconv.ParseUint(l, 10, 63)
		if err != nil {
			return verdictError{Neutral, fmt.Errorf("l=%.20q is no length", l)}
		}
		limit = int64(n)
	}
	s.body = canonical.NewHash(body == "relaxed", limit)
	return nil
}

// checkTimes checks x= and t=.
func checkTimes(tags canonical.Tags, now time.Time) error {
	x, expires := tags["x"]
	if !expires {
		return nil
	}
	end, err := strconv.ParseUint(x, 10, 63)
	if err != nil {
		return verdictError{Neutral, fmt.Errorf("x=%.20q is no time", x)}
	}
	if begin, err := strconv.ParseUint(tags["t"], 10, 63); err == nil && begin > end {
		return verdictError{Neutral, errors.New("x= is before t=")}
	}
	if int64(end) < now.Unix() {
		return verdictError{Fail, errors.New("the signature has expired")}
	}
	return nil
}
