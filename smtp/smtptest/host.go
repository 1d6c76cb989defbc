package smtptest

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// defaultMaxSize is the size of the largest message that a host takes, in octets. SIZE announces it.
const defaultMaxSize = 64 << 20

// Host is a host that takes mail and keeps it. [Network.Host] and [Network.MX] make one. Its methods may be called
// concurrently and at any time. A change applies to open sessions from their next command on. An argument that makes no
// sense, such as a reply with the code 100 or a negative limit, fails the test at once.
//
// A method that takes a reply copies it. If the reply is nil, the default in the method's comment is used:
//
//	host.Defer(26*time.Hour, smtp.NewReply(451, "4.7.1", "come back"))
//	host.Reject("bob@example.net", nil) // 550 5.1.1 no such user
//
// A stage has one fault: [Host.Answer], [Host.AnswerRaw], [Host.CloseAt], [Host.ResetAt], [Host.StallAt] and
// [Host.BabbleAt] replace each other. If several settings apply to a command, the first in this order wins:
// [Host.Refuse]; the fault of the stage; [Host.RateLimit]; [Host.MaxMessages] and [Host.MaxRecipients]; [Host.Limit];
// [Host.Reject]; [Host.Defer]; [Host.Greylist].
type Host struct {
	net  *Network
	name string // its key in Network.hosts

	// Guarded by net.mu.
	serving   bool // Network.Host was called: its own server listens
	lmtp      bool
	state     state
	link      link
	addrs     []netip.Addr
	listeners map[int]*listener // taken over by Listen, by port
	lookups   int               // of its addresses, with success
	dials     int               // of its addresses or its path

	mu       sync.Mutex // guards the fields below
	lacks    map[string]bool
	extra    []string          // lines of EHLO, set by Offer
	accounts map[string]string // passwords by user
	maxSize  int64
	chunking bool // CHUNKING

	requireTLS bool // REQUIRETLS, under TLS
	binary     bool // BINARYMIME
	limits     Limits
	script     script
	messages   []Message
	changed    signal // a change of messages, made, open or most
	made       int    // connections so far
	open       int    // sessions
	most       int    // most sessions at once so far
	record     transcript
}

// Message is a message that a host took.
type Message struct {
	// Envelope holds the parameters of MAIL, and of RCPT for each accepted recipient. It must not be changed.
	Envelope *smtp.Envelope

	// Data is the content, without dot stuffing. All lines end in CRLF, except with BODY=BINARYMIME, and except the
	// last line of a content that came by BDAT. It must not be changed.
	Data []byte

	Chunks   int       // the number of BDAT chunks; 0 if it came by DATA
	TLS      bool      // whether the session used TLS
	Identity string    // the user of AUTH; "" without AUTH
	Hello    string    // the argument of EHLO, HELO or LHLO
	Time     time.Time // of arrival
}

// state is how a host answers a dial.
type state uint8

const (
	up      state = iota
	down          // refused
	hanging       // a black hole
)

// Name returns the host's name as an A-label, or the path of its socket.
func (h *Host) Name() string { return h.name }

// Addrs returns the host's addresses.
func (h *Host) Addrs() []netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return slices.Clone(h.addrs)
}

// SetAddrs replaces the host's addresses, in the DNS and for dials. Without any, its name has no address records.
func (h *Host) SetAddrs(addrs ...netip.Addr) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, old := range h.addrs {
		if h.net.byAddr[old] == h {
			delete(h.net.byAddr, old)
		}
	}
	h.addrs = nil
	for _, addr := range addrs {
		h.addrs = append(h.addrs, addr.Unmap())
	}
	h.net.claim(h)
}

// IPv6 adds an address of 2001:db8::/32 before the host's other addresses, and returns it.
func (h *Host) IPv6() netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	addr := h.net.newIPv6()
	h.addrs = slices.Insert(h.addrs, 0, addr)
	h.net.claim(h)
	return addr
}

// Down takes the host down: open connections are reset, and new ones are refused, also at a port that [Network.Listen]
// serves.
func (h *Host) Down() { h.become(down) }

// Hang makes the host a black hole: open connections are reset, and a dial waits until its context ends or the host is
// up again.
func (h *Host) Hang() { h.become(hanging) }

// Up ends Down and Hang.
func (h *Host) Up() { h.become(up) }

func (h *Host) become(s state) {
	if h.net.beHere() != nil {
		return
	}
	h.net.mu.Lock()
	h.state = s
	h.net.changed.broadcast()
	var open []*conn
	if s != up {
		open = h.net.open(h)
	}
	h.net.mu.Unlock()
	for _, c := range open {
		c.reset()
	}
}

// LMTP makes the host a mailbox store: it speaks LMTP (RFC 2033), on port 24 or at its path, and no SMTP.
func (h *Host) LMTP() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.lmtp = true
}

// NoTLS removes STARTTLS. AUTH is then offered without TLS.
func (h *Host) NoTLS() { h.Without("STARTTLS") }

// OfferRequireTLS offers REQUIRETLS (RFC 8689) under TLS.
func (h *Host) OfferRequireTLS() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requireTLS = true
	delete(h.lacks, "REQUIRETLS")
}

// Without removes extensions, by their EHLO keywords. Without("EHLO") leaves a host that knows only HELO.
func (h *Host) Without(keywords ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keywords {
		h.lacks[strings.ToUpper(k)] = true
	}
}

// Offer adds lines to the answer to EHLO. Each is a keyword with its parameters, such as "LIMITS RCPTMAX=10". A line
// replaces the one with the same keyword, and reverses [Host.Without] for it. Offer changes only the announcement, not
// the behaviour of the host: Offer("CHUNKING") announces an extension that the host then refuses. STARTTLS is never
// offered under TLS.
func (h *Host) Offer(lines ...string) {
	h.net.t.Helper()
	for _, line := range lines {
		if keyword(line) == "" || strings.ContainsAny(line, "\r\n") {
			h.net.t.Fatalf("smtptest: %s can't offer %q", h.name, line)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range lines {
		delete(h.lacks, keyword(line))
		h.extra = replaceLine(h.extra, line)
	}
}

// replaceLine replaces the line of EHLO that has the same keyword, or appends the line.
func replaceLine(lines []string, line string) []string {
	i := slices.IndexFunc(lines, func(l string) bool { return keyword(l) == keyword(line) })
	if i < 0 {
		return append(lines, line)
	}
	lines[i] = line
	return lines
}

// keyword returns the keyword of a line of EHLO, in upper case.
func keyword(line string) string {
	word, _, _ := strings.Cut(line, " ")
	return strings.ToUpper(word)
}

// MaxSize sets the size of the largest message that the host takes, in octets. SIZE announces it. The default is 64
// MiB.
func (h *Host) MaxSize(n int64) {
	h.net.t.Helper()
	h.checkLimit(n)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.maxSize = n
}

// Auth adds an account. From then on the host takes mail only after AUTH PLAIN, which it offers under TLS. A host
// without STARTTLS offers it in cleartext.
func (h *Host) Auth(user, password string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accounts[user] = password
}

// answers reports whether the host's own server listens at a port. Port 0 is a Unix socket. net.mu is held.
func (h *Host) answers(port int) bool {
	switch {
	case !h.serving:
		return false
	case isPath(h.name):
		return port == 0
	case h.lmtp:
		return port == portLMTP
	}
	return port == portSMTP || port == portSubmission || port == portSubmissions
}

const (
	portLMTP        = 24
	portSMTP        = 25
	portSubmissions = 465
	portSubmission  = 587
)
