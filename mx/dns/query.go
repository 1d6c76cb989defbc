package dns

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds of RFC 1035 §2.3.4.
const (
	maxLabel = 63
	maxName  = 254 // as text with its last dot: 255 octets with the octets for lengths
)

// udpSize is the size of an answer by UDP that isn't fragmented on any usual path.
const udpSize = 1232

// canonical returns a valid name in lower case and with a trailing dot.
func canonical(name string) (string, error) {
	if rooted := rooted(name); name != "" && isValid(rooted) {
		return strings.ToLower(rooted), nil
	}
	return "", errBadName
}

// rooted returns a name with a trailing dot.
func rooted(name string) string {
	if strings.HasSuffix(name, ".") {
		return name
	}
	return name + "."
}

// isValid reports whether a name with a trailing dot can be asked for: printable ASCII, within the bounds. A backslash
// would begin an escape.
func isValid(name string) bool {
	if name == "." {
		return true
	}
	if len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' })
}

// isBelow reports whether a name is below another one. Both are canonical.
func isBelow(name, parent string) bool {
	return parent == "." || len(name) > len(parent) && strings.HasSuffix(name, parent) &&
		name[len(name)-len(parent)-1] == '.'
}

// question is what is asked.
type question struct {
	name  string // canonical
	kind  dnsmessage.Type
	plain bool // without EDNS0 and with the name as it is
	proof bool // whether the answer is authentic
}

// query is a question as it is sent.
type query struct {
	question
	id   uint16
	sent dnsmessage.Name // in the case that was sent
	msg  []byte          // begins with the two octets of length that TCP needs
}

// newQuery returns a query with a random ID.
func newQuery(q question) (*query, error) {
	var random [2 + maxName/8 + 1]byte
	rand.Read(random[:])
	name := q.name
	if !q.plain {
		name = mixCase(name, random[2:])
	}
	sent, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	// RFC 5452 §9.2: unpredictable IDs.
	out := &query{question: q, id: binary.BigEndian.Uint16(random[:]), sent: sent}
	// RFC 6840 §5.7: AD in a query asks for AD in the answer. Unlike DO it brings no signatures, which nobody here
	// reads and which make answers too long for UDP. It is part of a plain query, so neither a lost datagram nor a
	// server without EDNS makes an authentic answer insecure. Without TrustAD it isn't set: old firewalls may drop it.
	h := dnsmessage.Header{ID: out.id, RecursionDesired: true, AuthenticData: q.proof}
	b := dnsmessage.NewBuilder(make([]byte, 2, 512), h)
	err = errors.Join(b.StartQuestions(),
		b.Question(dnsmessage.Question{Name: sent, Type: q.kind, Class: dnsmessage.ClassINET}))
	if err == nil && !q.plain {
		// RFC 6891 §6.2.3: the size of the answers that we take.
		var h dnsmessage.ResourceHeader
		err = errors.Join(h.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false), b.StartAdditionals(),
			b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	if err != nil {
		return nil, err
	}
	if out.msg, err = b.Finish(); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(out.msg, uint16(len(out.msg)-2))
	return out, nil
}

// mixCase turns letters into upper case, each by one random bit. Servers repeat the question as it was, which a forger
// would have to guess (draft-vixie-dnsext-dns0x20).
func mixCase(name string, random []byte) string {
	mixed := []byte(name)
	for i, c := range mixed {
		if 'a' <= c && c <= 'z' && random[i/8]>>(i%8)&1 == 1 {
			mixed[i] = c - 'a' + 'A'
		}
	}
	return string(mixed)
}
