package dns

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	maxTTL     = math.MaxInt32 * time.Second // RFC 2181 §8
	unknownTTL = -1
)

// answer is the part of a message that answers a question.
type answer struct {
	aliases []string // the names that the CNAMEs lead to, in order
	open    bool     // the last alias has to be asked for
	rcode   RCode    // 0 or NXDomain
	mx      []*net.MX
	ip      []netip.Addr
	txt     []string
	ptr     []string
	tlsa    []TLSA
	cname   string
	ttl     time.Duration // the lowest one
	server  string

	authentic bool
	name      string // the last one of the aliases; set by lookup
}

func (a *answer) empty() bool {
	return len(a.mx)+len(a.ip)+len(a.txt)+len(a.ptr)+len(a.tlsa) == 0 && a.cname == ""
}

// origin is whose answer a message is.
type origin uint8

const (
	ours    origin = iota
	ourCase        // ours, but for the case of the name
	another
)

// start begins to read a message. It reports whether the message answers q.
func (q *query) start(p *dnsmessage.Parser, msg []byte) (dnsmessage.Header, origin) {
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.ID != q.id || h.OpCode != 0 {
		return h, another
	}
	asked, err := p.AllQuestions()
	switch {
	case err != nil:
		return h, another
	case len(asked) == 0 && h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError:
		return h, ours // old servers return the header alone as an error, of EDNS for example
	case len(asked) != 1 || asked[0].Type != q.kind || asked[0].Class != dnsmessage.ClassINET:
		return h, another
	case asked[0].Name == q.sent:
		return h, ours
	case lower(asked[0].Name) != q.name:
		return h, another
	case q.plain:
		return h, ours
	}
	return h, ourCase
}

// record is a resource record of the answer section.
type record struct {
	owner string
	ttl   time.Duration
	data  any // string for a CNAME, or what answer.add takes; nil if it can't be read or isn't valid
}

type (
	text    string
	pointer string // the name in a PTR
	target  string // the name in a CNAME that was asked for
)

// read reads the sections after the question. The error is an RCode, errLame or errMalformed.
func (q *query) read(p *dnsmessage.Parser, h dnsmessage.Header) (answer, error) {
	records, err := q.answers(p)
	if err != nil {
		return answer{}, err
	}
	a, owner, unread := q.follow(records)
	a.authentic = q.proof && h.AuthenticData // RFC 4035 §3.2.3: it is about the answer and the authority section
	negative, err := soa(p, owner)
	if err != nil {
		return answer{}, err
	}
	code, err := extended(p, h.RCode)
	switch {
	case err != nil:
		return answer{}, err
	case code != 0 && code != NXDomain:
		return answer{}, code
	case code == NXDomain:
		// RFC 6604 §2.1: the code is about the last name.
		a = answer{aliases: a.aliases, ttl: a.ttl, rcode: code, authentic: a.authentic}
	case !a.empty():
		return a, nil
	case unread:
		return answer{}, errMalformed
	}
	if negative >= 0 {
		a.ttl = min(a.ttl, negative)
		return a, nil
	}
	// RFC 2308 §2.2: without an SOA record, a server that neither has the zone nor looks for it refers to others.
	if !h.Authoritative && !h.RecursionAvailable && len(a.aliases) == 0 {
		return answer{}, errLame
	}
	if code != NXDomain && len(a.aliases) > 0 {
		a.open = true // the server hasn't followed the last alias, or doesn't say that it has
		return a, nil
	}
	a.ttl = 0 // RFC 2308 §5: a negative answer without an SOA record is not cached
	return a, nil
}

// answers returns the aliases and the records of the type in question, whoever their owner is.
func (q *query) answers(p *dnsmessage.Parser) (records []record, err error) {
	err = section(p.AnswerHeader, p.SkipAnswer, func(h dnsmessage.ResourceHeader) (read bool) {
		if h.Class != dnsmessage.ClassINET || h.Type != q.kind && h.Type != dnsmessage.TypeCNAME {
			return false
		}
		r := record{owner: lower(h.Name), ttl: lifetime(h.TTL)}
		read = r.read(p, h, q.kind)
		records = append(records, r)
		return read
	})
	return records, err
}

// read reads the data of a record. It reports whether the parser is behind the record.
func (r *record) read(p *dnsmessage.Parser, h dnsmessage.ResourceHeader, asked dnsmessage.Type) bool {
	switch h.Type {
	case dnsmessage.TypeCNAME:
		data, err := p.CNAMEResource()
		if name := lower(data.CNAME); err == nil && isValid(name) {
			r.data = name
			if asked == h.Type {
				r.data = target(name)
			}
		}
		return err == nil
	case dnsmessage.TypeMX:
		data, err := p.MXResource()
		if name := lower(data.MX); err == nil && isValid(name) {
			r.data = &net.MX{Host: name, Pref: data.Pref}
		}
		return err == nil
	case dnsmessage.TypePTR:
		data, err := p.PTRResource()
		if name := lower(data.PTR); err == nil && isValid(name) {
			r.data = pointer(name)
		}
		return err == nil
	case dnsmessage.TypeTXT:
		data, err := p.TXTResource()
		if err == nil {
			r.data = text(strings.Join(data.TXT, ""))
		}
		return err == nil
	}
	data, err := p.UnknownResource()
	if b := data.Data; h.Type == typeTLSA {
		if err == nil && len(b) > 3 {
			r.data = TLSA{Usage: b[0], Selector: b[1], MatchingType: b[2], Data: b[3:]}
		}
		return err == nil
	}
	if ip, ok := netip.AddrFromSlice(data.Data); err == nil && ok && ip.Is4() == (h.Type == dnsmessage.TypeA) {
		r.data = ip
	}
	return err == nil
}

// follow collects the records of the name in question, or of the name to which its aliases lead. It returns that name,
// and whether it has records that can't be read.
func (q *query) follow(records []record) (a answer, owner string, unread bool) {
	a.ttl, owner = maxTTL, q.name
	for {
		alias, ttl := "", a.ttl
		for _, r := range records {
			if r.owner != owner {
				continue
			}
			if name, ok := r.data.(string); !ok {
				unread = !a.add(r) || unread
			} else if alias == "" {
				alias, ttl = name, min(ttl, r.ttl)
			}
		}
		if alias == "" || !a.empty() || len(a.aliases) > maxAliases {
			return a, owner, unread
		}
		owner = alias
		a.aliases, a.ttl = append(a.aliases, alias), ttl
	}
}

// add adds a record to the answer. It reports whether it could.
func (a *answer) add(r record) bool {
	switch data := r.data.(type) {
	case *net.MX:
		a.mx = append(a.mx, data)
	case netip.Addr:
		a.ip = append(a.ip, data)
	case text:
		a.txt = append(a.txt, string(data))
	case pointer:
		a.ptr = append(a.ptr, string(data))
	case TLSA:
		a.tlsa = append(a.tlsa, data)
	case target:
		a.cname = string(data)
	default:
		return false
	}
	a.ttl = min(a.ttl, r.ttl)
	return true
}

// soa returns the negative TTL of the authority section, or unknownTTL. Only an SOA record of a zone that has the name
// counts.
func soa(p *dnsmessage.Parser, name string) (ttl time.Duration, err error) {
	ttl = unknownTTL
	err = section(p.AuthorityHeader, p.SkipAuthority, func(h dnsmessage.ResourceHeader) (read bool) {
		zone := lower(h.Name)
		if h.Type != dnsmessage.TypeSOA || h.Class != dnsmessage.ClassINET || zone != name && !isBelow(name, zone) {
			return false
		}
		// MINIMUM is the last of five numbers behind two names, which needn't be host names (RFC 1035 §3.3.13, §8).
		data, err := p.UnknownResource()
		if n := len(data.Data); err == nil && n >= 22 {
			// RFC 2308 §5: the lower one of MINIMUM and the TTL of the record.
			ttl = min(lifetime(h.TTL), lifetime(binary.BigEndian.Uint32(data.Data[n-4:])))
		}
		return err == nil
	})
	return ttl, err
}

// extended returns the RCODE with the upper bits that EDNS has (RFC 6891 §6.1.3).
func extended(p *dnsmessage.Parser, code dnsmessage.RCode) (RCode, error) {
	err := section(p.AdditionalHeader, p.SkipAdditional, func(h dnsmessage.ResourceHeader) (read bool) {
		if h.Type == dnsmessage.TypeOPT {
			code = h.ExtendedRCode(code & 0xf)
		}
		return false
	})
	return RCode(code), err
}

// section passes each record of a section to f, and skips those that f doesn't read or whose owner is no text.
func section(next func() (dnsmessage.ResourceHeader, error), skip func() error,
	f func(dnsmessage.ResourceHeader) (read bool)) error {
	for {
		h, err := next()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		}
		if err == nil && f(h) {
			continue
		}
		if skip() != nil {
			return errMalformed
		}
	}
}

// lifetime returns a TTL. RFC 2181 §8: one with the highest bit set is zero.
func lifetime(ttl uint32) time.Duration {
	if ttl > math.MaxInt32 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// lower returns a name in lower case. RFC 4343 §3: names in other case are the same.
func lower(n dnsmessage.Name) string {
	name := n.Data[:n.Length]
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			name[i] = c - 'A' + 'a'
		}
	}
	return string(name)
}
