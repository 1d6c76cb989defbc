package smtptest

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// defaultMaxSize is what a host takes as a message, in octets, and says with SIZE.
const defaultMaxSize = 64 << 20

// Host is a host that takes mail and keeps it. [Network.Host] and [Network.MX] put one up. Its methods may be
// called concurrently and at any time, and what they change holds from the next command of open sessions on. What
// makes no sense, a reply with the code 100 or a limit below 0, fails the test at once.
//
// Methods that take a reply copy it. A nil reply stands for the default that the method's comment names:
//
//	host.Defer(26*time.Hour, smtp.NewReply(451, "4.7.1", "come back"))
//	host.Reject("bob@example.net", nil) // 550 5.1.1 no such user
//
// What is said of a stage ([Host.Answer], [Host.AnswerRaw], [Host.CloseAt], [Host.ResetAt], [Host.StallAt] and
// [Host.BabbleAt]) replaces what was said of it before. Where several things apply to a command, the first of
// these does: [Host.Refuse]; the stage's own; [Host.RateLimit]; [Host.MaxMessages] and [Host.MaxRecipients]; [Host.Limit];
// [Host.Reject]; [Host.Defer]; [Host.Greylist].
type Host struct {
	net  *Network
	name string // its key in Network.hosts

	// Guarded by net.mu.
	serving   bool // it was asked for by name, and answers
	lmtp      bool
	state     state
	link      link
	addrs     []netip.Addr
	listeners map[int]*listener // taken over by Listen, by port
	lookups   int               // of its addresses, with success
	dials     int               // of its addresses or its path

	mu       sync.Mutex // guards what follows
	lacks    map[string]bool
	extra    []string          // lines of EHLO in place of the usual ones, or beside them
	accounts map[string]string // passwords by user
	maxSize  int64
	chunking bool // CHUNKING
	binary   bool // BINARYMIME
	limits   Limits
	script   script
	messages []Message
	changed  signal // of messages and what follows
	made     int    // connections so far
	open     int    // sessions
	most     int    // sessions at once, so far
	record   transcript
}

// Message is a mail that a host took.
type Message struct {
	// Envelope is what MAIL and RCPT said, with the recipients that were taken. It must not be changed.
	Envelope *smtp.Envelope

	// Data is the content, without the dots of the wire. All lines end in CRLF, but for BODY=BINARYMIME and the end of
	// what came by BDAT. It must not be changed.
	Data []byte

	Chunks   int       // how many it came in by BDAT; 0: by DATA
	TLS      bool      // it came under TLS
	Identity string    // the user of AUTH; "" without
	Hello    string    // the name that the client gave with EHLO, HELO or LHLO
	Time     time.Time // when it came
}

// state says how a host answers to a dial.
type state uint8

const (
	up      state = iota
	down          // refused
	hanging       // a black hole
)

// Name gives the host's name as an A-label, or the path of its socket.
func (h *Host) Name() string { return h.name }

// Addrs gives the host's addresses.
func (h *Host) Addrs() []netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return slices.Clone(h.addrs)
}

// SetAddrs gives the host these addresses, in the DNS and to answer at, instead of those it had. With none, its
// name doesn't resolve.
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

// IPv6 gives the host an address in 2001:db8::/32 ahead of those it has, and returns it.
func (h *Host) IPv6() netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	addr := h.net.newIPv6()
	h.addrs = slices.Insert(h.addrs, 0, addr)
	h.net.claim(h)
	return addr
}

// Down takes the host down: connections to it are refused, those of a [Network.Listen] there too, and those that
// are open are reset.
func (h *Host) Down() { h.become(down) }

// Hang makes the host a black hole: who dials it waits until the context ends or the host is up again.
// Open connections are reset.
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

// NoTLS leaves out STARTTLS, and with it the rule that AUTH is offered under TLS only.
func (h *Host) NoTLS() { h.Without("STARTTLS") }

// Without leaves out extensions, by their EHLO keywords. Without "EHLO" the host knows only HELO.
func (h *Host) Without(keywords ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keywords {
		h.lacks[strings.ToUpper(k)] = true
	}
}

// Offer puts these lines into the answer to EHLO, each a keyword and its parameters ("LIMITS RCPTMAX=10"), in place
// of those with the same keywords, and ends what Without said of them. They are words alone: what the host does stays
// as it is, so that "SIZE 1000" beside a MaxSize of 10 is a lie, and "CHUNKING" a promise that it breaks. STARTTLS is
// not offered under TLS even so.
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

// replaceLine puts a line of EHLO in the place of the one with its keyword, or behind the others.
func replaceLine(lines []string, line string) []string {
	i := slices.IndexFunc(lines, func(l string) bool { return keyword(l) == keyword(line) })
	if i < 0 {
		return append(lines, line)
	}
	lines[i] = line
	return lines
}

// keyword gives that of a line of EHLO, in upper case.
func keyword(line string) string {
	word, _, _ := strings.Cut(line, " ")
	return strings.ToUpper(word)
}

// MaxSize bounds a message at n octets, 64 MiB without it. SIZE says so.
func (h *Host) MaxSize(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.maxSize = n
}

// Auth opens an account. From then on the host takes mail only after AUTH, which it offers under TLS, or in
// clear if it has no STARTTLS.
func (h *Host) Auth(user, password string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accounts[user] = password
}

// answers reports whether the host's own server is at a port; 0 is a Unix socket. net.mu is held.
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
