package postrider

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

const (
	maxReceived = 100     // Received fields; RFC 5321 §6.3: at least 100
	maxHeader   = 1 << 20 // octets of a header section
)

// readHeader reads the beginning of a message: at least its header section and the empty line after it, or the first
// line if there is no header.
func readHeader(body io.Reader) ([]byte, error) {
	buf := make([]byte, 0, 2048)
	for searched, lines := 0, false; ; {
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if !lines && bytes.IndexByte(buf, '\n') >= 0 {
			if lines = true; !beginsHeader(buf) {
				return buf, nil
			}
		}
		if bytes.Contains(buf[searched:], []byte("\r\n\r\n")) || bytes.HasPrefix(buf, []byte("\r\n")) {
			return buf, nil
		}
		searched = max(0, len(buf)-3)
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) >= maxHeader:
			return nil, smtp.NewReply(552, "5.3.4", "the header is too long")
		case len(buf) == cap(buf):
			buf = slices.Grow(buf, len(buf))
		}
	}
}

// beginsHeader reports whether b begins with a header section, which may be empty: with a field's name and a colon
// (RFC 5322 §2.2; §4.5 allows white space between them), or with the empty line.
func beginsHeader(b []byte) bool {
	if len(b) == 0 || bytes.HasPrefix(b, []byte("\r\n")) {
		return true
	}
	name := bytes.IndexFunc(b, func(c rune) bool { return c <= ' ' || c == ':' || c >= 0x7f })
	return name > 0 && bytes.HasPrefix(bytes.TrimLeft(b[name:], " \t"), []byte(":"))
}

// header has the facts of a header section that a relay uses.
type header struct {
	received  int      // how many Received fields
	from      []string // the values of the From fields
	date      bool     // there is a Date
	messageID bool     // there is a Message-ID
}

// parseHeader reads the header section that b begins with.
func parseHeader(b []byte) (h header) {
	for len(b) > 0 && !bytes.HasPrefix(b, []byte("\r\n")) {
		end := fieldEnd(b)
		name, value, ok := bytes.Cut(b[:end], []byte(":"))
		b = b[end:]
		if name = bytes.TrimRight(name, " \t\r\n"); !ok { // some readers unfold before they look for the colon
			continue
		}
		switch {
		case bytes.EqualFold(name, []byte("Received")):
			h.received++
		case bytes.EqualFold(name, []byte("From")):
			h.from = append(h.from, strings.ReplaceAll(string(bytes.TrimSpace(value)), "\r\n", ""))
		case bytes.EqualFold(name, []byte("Date")):
			h.date = true
		case bytes.EqualFold(name, []byte("Message-ID")):
			h.messageID = true
		}
	}
	return h
}

// fieldEnd returns the end of the field that b begins with, its folded lines included (RFC 5322 §2.2.3).
func fieldEnd(b []byte) int {
	for end := 0; ; {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return len(b)
		}
		if end += i + 1; end == len(b) || b[end] != ' ' && b[end] != '\t' {
			return end
		}
	}
}

// authors returns the addresses of the From fields. ok is false if they can't be read.
func (h *header) authors() (addresses []string, ok bool) {
	// The names in the field don't matter here. So any charset will do.
	anyCharset := func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: anyCharset}}
	for _, value := range h.from {
		list, err := parser.ParseList(value)
		if err != nil {
			return nil, false
		}
		for _, a := range list {
			// a.Address has lost the quotes of its local part.
			mailbox := mail.Address{Address: a.Address}
			addresses = append(addresses, strings.Trim(mailbox.String(), "<>"))
		}
	}
	return addresses, len(addresses) > 0
}

// fromDomain returns the domain of the From field as an A-label, "" if there isn't exactly one.
func (h *header) fromDomain() (domain string) {
	if len(h.from) != 1 { // RFC 5322 §3.6: exactly one
		return ""
	}
	addresses, _ := h.authors()
	for _, address := range addresses {
		_, d := smtp.SplitAddress(address)
		ascii, err := smtp.ASCIIDomain(d)
		if err != nil || domain != "" && ascii != domain {
			return ""
		}
		domain = ascii
	}
	return domain
}

// received returns the Received field (RFC 5321 §4.4). p is nil for mail from code.
func (r *Relay) received(env *smtp.Envelope, p *server.Peer, now time.Time) []byte {
	b := make([]byte, 0, 320)
	b = append(b, "Received: "...)
	if p != nil {
		b = fmt.Appendf(b, "from %s (%s)\r\n\t", plain(p.Hello), addressLiteral(p.RemoteAddr))
	}
	b = fmt.Appendf(b, "by %s with %s", r.hostname, protocol(env, p))
	if p != nil && p.TLS != nil {
		b = fmt.Appendf(b, " (%s)", tlsNames(p.TLS))
	}
	id := "local-" + rand.Text()
	if p != nil {
		id = p.Transaction()
	}
	b = append(b, " id "...)
	b = append(b, id...)
	// RFC 5321 §7.2: with several recipients, "for" would show each of them to the others.
	if len(env.Recipients) == 1 {
		// A U-label would make a header need SMTPUTF8 that didn't before.
		if address, ok := smtp.ASCIIAddress(env.Recipients[0].Address); (ok || env.UTF8) && len(address) < 200 {
			b = fmt.Appendf(b, "\r\n\tfor <%s>", address)
		}
	}
	b = append(b, ";\r\n\t"...)
	return appendDate(b, now)
}

// complete returns the fields that a submission server adds where they are missing (RFC 6409 §8.2, §8.3).
func (r *Relay) complete(b []byte, h *header, now time.Time) []byte {
	if !h.date {
		b = appendDate(append(b, "Date: "...), now)
	}
	if !h.messageID {
		b = fmt.Appendf(b, "Message-ID: <%s@%s>\r\n", rand.Text(), r.hostname)
	}
	return b
}

func appendDate(b []byte, now time.Time) []byte {
	return append(now.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700"), "\r\n"...)
}

// protocol is the "with" of a Received field (RFC 3848; with UTF-8, RFC 6531 §4.3).
func protocol(env *smtp.Envelope, p *server.Peer) string {
	switch {
	case p == nil:
		return "local"
	case !p.ESMTP:
		return "SMTP"
	}
	name := "ESMTP"
	if env.UTF8 {
		name = "UTF8SMTP"
	}
	if p.TLS != nil {
		name += "S"
	}
	if p.Username != "" {
		name += "A"
	}
	return name
}

// addressLiteral is the peer's address as RFC 5321 §4.1.3 writes it.
func addressLiteral(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "local"
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

func tlsNames(state *tls.ConnectionState) string {
	return tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
}

// plain replaces the characters of a name from outside that could end its part of a header field.
func plain(name string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == 0x7f || strings.ContainsRune(`()<>;,"\`, c) {
			return '?'
		}
		return c
	}, name)
}
