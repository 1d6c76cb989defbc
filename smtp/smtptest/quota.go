package smtptest

import (
	"bytes"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Party is what a host counts the messages of: see [Host.Quota].
type Party uint8

// The parties.
const (
	ByAddress    Party = iota // the IP address of the client
	ByDKIMDomain              // the d= of the first DKIM-Signature, which isn't verified
	BySPFDomain               // the domain of the reverse-path, or of HELO if that is null (RFC 7208 §2.4)
)

// quotaKey names a quota that is in use.
type quotaKey struct {
	party Party
	name  string
}

// quotaReplies are the defaults. They are worded as large receivers word them.
var quotaReplies = [...]string{
	ByAddress:    "unusual rate of mail from your IP address, try again later",
	ByDKIMDomain: "unusual rate of mail signed by your DKIM domain, try again later",
	BySPFDomain:  "unusual rate of mail from your SPF domain, try again later",
}

// Quota makes the host take at most n messages of each party in any period of this length. Beyond it, the host answers
// the final dot with r. A refused message doesn't count, and neither does one without that party, an unsigned one for
// example. Each Party has one quota; if several are exceeded, the first of ByAddress, ByDKIMDomain and BySPFDomain
// answers. If r is nil, it is 421 4.7.28 with a text that names the party. An n of 0 refuses all, a period of 0 ends
// the quota.
func (h *Host) Quota(of Party, n int, period time.Duration, r *smtp.Reply) {
	h.net.t.Helper()
	h.checkLimit(int64(n))
	if int(of) >= len(quotaReplies) || period < 0 {
		h.net.t.Fatalf("smtptest: %s can't have a quota of party %d for %v", h.name, of, period)
	}
	r = h.orDefault(r, 421, "4.7.28", quotaReplies[of])
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.script.quotasUsed {
		if key.party == of {
			delete(h.script.quotasUsed, key)
		}
	}
	h.script.quotas[of] = nil
	if period > 0 {
		h.script.quotas[of] = &rate{limit: limit{n, r}, per: period}
	}
}

// overQuota counts a message. It returns the reply if a quota is exceeded, else nil.
func (s *session) overQuota(m Message) *smtp.Reply {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	var used []*rate
	for of, q := range h.script.quotas {
		if q == nil {
			continue
		}
		name := s.party(Party(of), m)
		if name == "" {
			continue
		}
		key := quotaKey{Party(of), name}
		own := h.script.quotasUsed[key]
		if own == nil {
			own = &rate{limit: q.limit, per: q.per}
			put(&h.script.quotasUsed, key, own)
		}
		if own.isFull(time.Now()) {
			return q.reply
		}
		used = append(used, own)
	}
	for _, own := range used {
		own.past = append(own.past, time.Now())
	}
	return nil
}

// party returns the name of a party of a message; "": it has none.
func (s *session) party(of Party, m Message) string {
	switch of {
	case ByAddress:
		return s.client().String()
	case ByDKIMDomain:
		return signer(m.Data)
	}
	if _, domain := smtp.SplitAddress(m.Envelope.From); domain != "" {
		return strings.ToLower(domain)
	}
	return strings.ToLower(s.hello)
}

// signer returns the d= of the first DKIM-Signature of a message (RFC 6376 §3.5), in lower case.
func signer(data []byte) string {
	head, _, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	text := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(string(head))
	for line := range strings.SplitSeq(text, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(strings.TrimSpace(name), "DKIM-Signature") {
			continue
		}
		for tag := range strings.SplitSeq(value, ";") {
			if tag, domain, _ := strings.Cut(tag, "="); strings.TrimSpace(tag) == "d" {
				return strings.ToLower(strings.TrimSpace(domain))
			}
		}
	}
	return ""
}
