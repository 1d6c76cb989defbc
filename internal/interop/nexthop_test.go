package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// way is how a session is secured.
type way struct {
	name   string
	prefix string // of the names of its recipients
	port   string // 465 is the host's where TLS begins at once, any other the one with STARTTLS
	tls    mx.TLSLevel
	auth   bool
	mark   string // of the protocol's name in the host's Received line (RFC 3848)
}

var ways = []way{
	{name: "in the clear", prefix: "clear", port: "25", tls: mx.TLSNone},
	{name: "STARTTLS", prefix: "starttls", port: "25", tls: mx.TLSRequired, mark: "S"},
	{name: "implicit TLS", prefix: "tls", port: "465", tls: mx.TLSRequired, mark: "S"},
	{name: "AUTH PLAIN", prefix: "auth", port: "587", tls: mx.TLSRequired, auth: true, mark: "SA"},
}

// covered says what each host has of each message afterwards, a letter for each of the ways, in their order:
//
//	=  the octets that were sent
//	n  these, and a CRLF at the end
//	b  these, and an empty line on top of them
//	f  the octets that were sent, and the host's own Date and Message-ID on top of them
//	D  the octets that were sent; and a report of its own with the ENVID and the ORCPT
//	d  the octets that were sent; and a report of its own without these
//	r  nothing: the host refuses such a message
//	u  nothing: the host has no SMTPUTF8, and the client doesn't send it
//	-  the host doesn't have that way
const covered = `
                                 postfix    exim       opensmtpd  dovecot    aiosmtpd
text                             ====       ====       ====       ===-       ====
folded, spaced and empty fields  ====       ====       ====       ===-       ====
dots                             ====       ====       ====       ===-       ====
a dot first                      nnnn       nnnn       nnnn       nnn-       nnnn
trailing spaces                  ====       ====       ====       ===-       ====
empty lines at the end           ====       ====       ====       ===-       ====
lines of 998 octets              ====       ====       ====       ===-       ====
8-bit body                       ====       ====       ====       ===-       ====
no final CRLF                    nnnn       nnnn       nnnn       nnn-       nnnn
body of one CRLF                 ====       ====       ====       ===-       ====
empty body                       ====       ====       ====       ===-       ====
header alone                     ====       nnnn       ====       ===-       ====
empty header                     ====       ====       ffff       ===-       ====
no header                        bbbb       bbbb       rrrr       ===-       ====
nothing                          ====       nnnn       ffff       ===-       ====
900 KiB of short lines           ====       ====       ====       ===-       ====
3 MiB                            ====       ====       ====       ===-       ====
3 MiB of 8 bits, no final CRLF   nnnn       nnnn       nnnn       ===-       nnnn
10 recipients, one refused       ====       ====       ====       ===-       ====
DSN parameters                   DDDD       DDDD       dddd       ===-       ====
UTF-8 header                     ====       ====       uuuu       uuu-       ====
UTF-8 address                    ====       ====       uuuu       uuu-       ====
`

// TestNextHosts: every host has the octets that the client sent, whichever way they went; the client says how a host
// refused what it did; and a relay has it as its smarthost.
func TestNextHosts(t *testing.T) {
	got, versions := make(map[string]string), []string{}
	for _, host := range nextHosts {
		t.Run(host.name, func(t *testing.T) {
			h := host.start(t)
			versions = append(versions, h.name+" "+h.version)
			t.Run("relay", func(t *testing.T) { relayTo(t, h) })
			t.Run("octets", func(t *testing.T) {
				for name, cell := range h.takeAll(t) {
					got[name+" to "+h.name] = cell
				}
			})
			t.Run("refusals", func(t *testing.T) { refusedBy(t, h) })
		})
	}
	rows := strings.Split(strings.Trim(covered, "\n"), "\n")
	table, columns := rows[:1:1], strings.Fields(rows[0])
	for i, p := range parcels() {
		name, cells := strings.TrimRight(rows[i+1][:33], " "), strings.Fields(rows[i+1][33:])
		if name != p.name {
			t.Fatalf("row %d is of %q, want %q", i, name, p.name)
		}
		row := fmt.Sprintf("%-33s", p.name)
		for j, host := range columns {
			cell := got[name+" to "+host]
			row += fmt.Sprintf("%-11s", cell)
			if cell != "" && cell != cells[j] {
				t.Errorf("%s to %s: got %q, want %q", name, host, cell, cells[j])
			}
		}
		table = append(table, strings.TrimRight(row, " "))
	}
	t.Logf("%s:\n%s", strings.Join(versions, ", "), strings.Join(table, "\n"))
}

// takeAll sends all parcels to the host in all ways, and gives the table's cell for each.
func (h *nextHost) takeAll(t *testing.T) map[string]string {
	t.Helper()
	type shipment struct {
		parcel
		way     way
		env     *smtp.Envelope
		results []smtp.Result
	}
	var shipments []shipment
	var expected []string // addresses that something comes to
	for _, w := range ways {
		if w.auth && h.lmtp { // LMTP hosts trust their network
			continue
		}
		transport, dials := h.transport(t, w)
		for _, p := range parcels() {
			env := p.envelope(w.prefix, h.domain())
			results, _ := transport.Send(t.Context(), env, strings.NewReader(p.content))
			for _, res := range results {
				if res.Outcome == smtp.Delivered {
					expected = append(expected, res.Recipient)
				}
			}
			if p.dsn && results[0].DSN {
				expected = append(expected, env.From)
			}
			shipments = append(shipments, shipment{p, w, env, results})
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%s: got %d sessions, want 1", w.name, n)
		}
	}
	stored := h.await(t, expected)
	cells := make(map[string]string)
	for _, s := range shipments {
		letter, err := h.letter(s.way, &s.parcel, s.env, s.results, stored)
		if err != nil {
			t.Errorf("%s, %s: %v", s.way.name, s.name, err)
		}
		cells[s.name] += letter
	}
	for name := range cells {
		cells[name] += strings.Repeat("-", len(ways)-len(cells[name]))
	}
	return cells
}

// transport makes a client that knows the host alone: as a smarthost, or by LMTP. It counts its connections.
func (h *nextHost) transport(t *testing.T, w way) (transport *client.Transport, dials *atomic.Int32) {
	t.Helper()
	dials = new(atomic.Int32)
	transport = &client.Transport{
		Hostname: "source.test",
		Router:   &mx.Router{Resolver: loopback{}, Routes: map[string]mx.Route{"*": h.mxRoute(t, w)}},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return h.dial(ctx, network, address)
		},
		TLSConfig: &tls.Config{RootCAs: h.roots},
	}
	t.Cleanup(func() { transport.Close() })
	return transport, dials
}

func (h *nextHost) mxRoute(t *testing.T, w way) mx.Route {
	t.Helper()
	makeRoute := func(addr string) (mx.Route, error) { return mx.Smarthost(addr) }
	if h.lmtp {
		makeRoute = mx.LMTP
	}
	route, err := makeRoute(net.JoinHostPort(h.domain(), w.port))
	if err != nil {
		t.Fatal(err)
	}
	route.TLS = w.tls
	if w.auth {
		route.Auth = smtp.AuthMechanism(func() smtp.AuthExchange { return sasl.NewPlainClient("", "ann", "secret") })
	}
	return route
}

// dial connects to the port that the host has in place of a well-known one.
func (h *nextHost) dial(ctx context.Context, network, address string) (net.Conn, error) {
	port := h.port
	if strings.HasSuffix(address, ":465") {
		port = h.tlsPort
	}
	return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
}

// loopback is a Resolver by which all hosts are here.
type loopback struct{}

func (loopback) LookupMX(context.Context, string) ([]*net.MX, error) {
	return nil, &net.DNSError{Err: "no MX", IsNotFound: true}
}

func (loopback) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// await gives what the host has stored by recipient, once it has something for all of these.
func (h *nextHost) await(t *testing.T, recipients []string) map[string][]byte {
	t.Helper()
	stored := make(map[string][]byte)
	n := grows(len(recipients), func() (n int) {
		for _, m := range h.mails(t) {
			stored[m.to] = m.data
		}
		for _, to := range recipients {
			if stored[to] != nil {
				n++
			}
		}
		return n
	})
	if n < len(recipients) {
		t.Fatalf("got the mails of %d recipients, want those of all %q", n, recipients)
	}
	return stored
}

var (
	onTop = regexp.MustCompile(`^(?i:Return-Path|Delivered-To|X-Original-To|Envelope-To|Received):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*`)
	// What RFC 6409 §8 lets a submission server add.
	ownFields = regexp.MustCompile(`^(?:(?i:Date|Message-ID): [^\r\n]*\r\n)+$`)
	protocol  = regexp.MustCompile(`(?is)\bwith (UTF8)?(?:E?SMTP|LMTP)(S?A?)\b`) // RFC 3848, RFC 6531 §4.3
)

// notASCII are the client's own codes for an address and for a header (RFC 6531 §3.5).
var notASCII = [2]smtp.EnhancedCode{{5, 6, 7}, {5, 6, 9}}

// letter says what became of a parcel, as the table has it.
func (h *nextHost) letter(w way, p *parcel, env *smtp.Envelope, results []smtp.Result, stored map[string][]byte) (string, error) {
	found := ""
	for _, res := range results {
		letter := ""
		switch {
		case strings.HasPrefix(res.Recipient, "nobody@") && res.Outcome == smtp.Rejected && !res.Local && res.Stage == smtp.StageRcpt:
			continue
		case res.Outcome == smtp.Rejected && res.Local && (res.Reply.Enhanced == notASCII[0] || res.Reply.Enhanced == notASCII[1]):
			letter = "u"
		case res.Outcome == smtp.Rejected && !res.Local && res.Stage == smtp.StageFinal:
			letter = "r"
		case res.Outcome == smtp.Delivered:
			var err error
			if letter, err = h.compare(w, p, &res, stored[res.Recipient]); err != nil {
				return "!", fmt.Errorf("to %s: %w", res.Recipient, err)
			}
		default:
			return "!", fmt.Errorf("to %s: got %v", res.Recipient, describe(res))
		}
		if found != "" && letter != found {
			return "!", fmt.Errorf("got %q and %q for recipients of one mail", found, letter)
		}
		found = letter
	}
	if found == "=" && p.dsn && results[0].DSN {
		report := stored[env.From]
		if bytes.Contains(report, []byte("Original-Recipient: rfc822;")) {
			found = "D"
		} else {
			found = "d"
		}
	}
	return found, nil
}

// compare finds out how what is stored differs from what was sent, and checks what the result and the Received line say.
func (h *nextHost) compare(w way, p *parcel, res *smtp.Result, stored []byte) (string, error) {
	wantAddr := "127.0.0.1:" + w.port
	if res.Host != h.domain() || res.Addr != wantAddr || (res.TLS != "") != (w.tls != mx.TLSNone) || res.Relayed == h.lmtp {
		return "", fmt.Errorf("got %+v, want host %s at %s", *res, h.domain(), wantAddr)
	}
	for _, form := range []struct{ letter, content string }{{"=", p.content}, {"n", p.content + "\r\n"}, {"b", "\r\n" + p.content}} {
		top, ok := bytes.CutSuffix(stored, []byte(form.content))
		if !ok {
			continue
		}
		rest := top
		for at := onTop.FindIndex(rest); at != nil; at = onTop.FindIndex(rest) {
			rest = rest[at[1]:]
		}
		letter := form.letter
		if len(rest) > 0 {
			if letter != "=" || !ownFields.Match(rest) {
				continue
			}
			letter = "f"
		}
		if m := protocol.FindSubmatch(top); m == nil || !strings.EqualFold(string(m[2]), w.mark) || (len(m[1]) > 0) != p.utf8 {
			return "", fmt.Errorf("got %q on top, want a protocol that ends in %q, and begins with UTF8: %v", top, w.mark, p.utf8)
		}
		return letter, nil
	}
	if at := bytes.Index(stored, []byte(p.content[:min(len(p.content), 10)])); at > 0 {
		return "", fmt.Errorf("got other octets: %s; on top %q", firstDifference(stored[at:], []byte(p.content)), stored[:at])
	}
	return "", fmt.Errorf("got other octets: %.900q", stored)
}

// describe gives a result on a line.
func describe(res smtp.Result) string {
	who := "host"
	if res.Local {
		who = "client"
	}
	return fmt.Sprintf("%v at %v by the %s: %v", res.Outcome, res.Stage, who, res.Reply)
}
