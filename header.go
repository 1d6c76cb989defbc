package postrider

import (
	"bytes"
	"net/mail"
	"strings"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

const maxReceived = 100 // Received fields; RFC 5321 §6.3: at least 100

// facts are the properties of a header section that a relay uses.
type facts struct {
	received int      // how many Received fields
	from     []string // the values of the From fields
	tls      []string // the values of the TLS-Required fields
}

// parseHeader reads the header section that b begins with.
func parseHeader(b []byte) (h facts) {
	for len(b) > 0 && !bytes.HasPrefix(b, []byte("\r\n")) {
		end := header.FieldEnd(b)
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
		case bytes.EqualFold(name, []byte("TLS-Required")):
			h.tls = append(h.tls, string(bytes.TrimSpace(value)))
		}
	}
	return h
}

// tlsOptional reports whether the header says "TLS-Required: No" (RFC 8689 §3). Another value has no meaning, and
// neither has a field that comes twice.
func (h *facts) tlsOptional() bool { return len(h.tls) == 1 && strings.EqualFold(h.tls[0], "No") }

// authors returns the addresses of the From fields. ok is false if they can't be read.
func (h *facts) authors() (addresses []string, ok bool) {
	for _, value := range h.from {
		list, err := header.ParseAddresses(value)
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

// fromDomain returns the domain of the authors, the addresses of the From field, as an A-label. It returns "" if there
// isn't exactly one.
func (h *facts) fromDomain(authors []string) (domain string) {
	if len(h.from) != 1 { // RFC 5322 §3.6: exactly one
		return ""
	}
	for _, address := range authors {
		_, d := smtp.SplitAddress(address)
		ascii, err := smtp.ASCIIDomain(d)
		if err != nil || domain != "" && ascii != domain {
			return ""
		}
		domain = ascii
	}
	return domain
}
