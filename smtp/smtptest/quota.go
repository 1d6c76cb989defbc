package smtptest

import (
	"time"

	"github.com/postrider/postrider/internal/quota"
	"github.com/postrider/postrider/smtp"
)

// Party is what a host counts the messages of: see [Host.Quota].
type Party uint8

// The parties.
const (
	ByAddress    = Party(quota.Address)    // the IP address of the client
	ByDKIMDomain = Party(quota.DKIMDomain) // the d= of the first DKIM-Signature, which isn't verified
	BySPFDomain  = Party(quota.SPFDomain)  // the domain of the reverse-path, or of HELO if that is null (RFC 7208 §2.4)
)

// Quota makes the host take at most n messages of each party in any period of this length. Beyond it, the host answers
// the final dot with r. A refused message doesn't count, and neither does one without that party, an unsigned one for
// example. Each Party has one quota; if several are exceeded, the first of ByAddress, ByDKIMDomain and BySPFDomain
// answers. If r is nil, it is 421 4.7.28 with a text that names the party. An n of 0 refuses all, a period of 0 ends
// the quota.
func (h *Host) Quota(of Party, n int, period time.Duration, r *smtp.Reply) {
	h.net.t.Helper()
	h.checkLimit(int64(n))
	party := quota.Party(of)
	if party >= quota.Parties || period < 0 {
		h.net.t.Fatalf("smtptest: %s can't have a quota of party %d for %v", h.name, of, period)
	}
	usual := party.Refusal()
	r = h.orDefault(r, usual.Code, "4.7.28", usual.Text)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.quotas.Set(party, quota.Limit{N: n, Per: period})
	h.script.quotaReplies[of] = r
}

// overQuota counts a message. It returns the reply if a quota is exceeded, else nil.
func (s *session) overQuota(m Message) *smtp.Reply {
	names := quota.NamesOf(s.client().String(), s.hello, m.Envelope.From, m.Data)
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if over, ok := h.script.quotas.Take(names, time.Now()); !ok {
		return h.script.quotaReplies[over]
	}
	return nil
}
