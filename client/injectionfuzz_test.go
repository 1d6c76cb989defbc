package client

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

// mailAttack is a message as the fuzzer has it.
type mailAttack struct {
	from, to1, to2, orcpt, envID, auth string
	ret, notify, body                  uint
	utf8                               bool
	size                               int64
	content                            string
	offers                             uint
}

func (m mailAttack) attack() *attack {
	return &attack{
		hostname: "client.test", host: "strict.test", content: m.content, on: strictHost{offers: m.offers, mechs: "PLAIN"},
		env: smtp.Envelope{
			From: m.from, Recipients: []smtp.Recipient{{Address: m.to1, Notify: smtp.Notify(m.notify), ORCPT: m.orcpt}, {Address: m.to2}},
			Body: smtp.BodyType(m.body), UTF8: m.utf8, Size: m.size, Ret: smtp.Ret(m.ret), EnvID: m.envID, Auth: m.auth,
		},
	}
}

// FuzzEnvelope: whatever the envelope and the content hold, a host understands just that, or nothing.
func FuzzEnvelope(f *testing.F) {
	cert, _ := testTLS(f, "strict.test")
	for _, tt := range mailAttacks {
		m := tt.mailAttack
		f.Add(m.from, m.to1, m.to2, m.orcpt, m.envID, m.auth, m.ret, m.notify, m.body, m.utf8, m.size, m.content, m.offers)
	}
	f.Fuzz(func(t *testing.T, from, to1, to2, orcpt, envID, auth string, ret, notify, body uint, utf8 bool, size int64, content string, offers uint) {
		a := mailAttack{from, to1, to2, orcpt, envID, auth, ret, notify, body, utf8, size, content, offers & allOffers}.attack()
		a.on.cert = cert
		results, err := viaConn(a)
		a.judge(t, results, err)
	})
}

// FuzzContent: the content comes through as it is, at any place of the boundary between two reads.
func FuzzContent(f *testing.F) {
	f.Fuzz(func(t *testing.T, head string, length uint, tail string, offers uint) {
		filler := strings.Repeat("0123456789abcdef\r\n", 1+int(length%(80<<10))/18)
		content := head + filler[len(filler)-int(length%(80<<10)):] + tail
		offers &= allOffers &^ (beginsTLS | offerSTARTTLS)
		a := mailAttack{from: "ann@a.test", to1: "bob@b.test", to2: "eve@b.test", content: content, offers: offers}.attack()
		results, err := viaConn(a)
		a.judge(t, results, err)
		wrong := strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n\x00")
		if !isASCIIText(bodyOf(content)) && (!a.on.has(offer8BitMIME) || a.on.plain()) {
			_, signed, err := smtp.SevenBit(strings.NewReader(content))
			wrong = wrong || signed || err != nil
		}
		if wrong == (err == nil) {
			t.Errorf("got error %v for content %q...%q", err, head, tail)
		}
	})
}

// FuzzHostname: our own name is refused before a byte, or said as it is; so is the host's, in a handshake.
func FuzzHostname(f *testing.F) {
	cert, _ := testTLS(f, "strict.test")
	f.Fuzz(func(t *testing.T, hostname, host string, offers uint) {
		m := mailAttack{from: "ann@a.test", to1: "bob@b.test", to2: "eve@b.test", content: "Hello.\r\n", offers: offers & allOffers}
		a := m.attack()
		a.hostname, a.host, a.on.cert = hostname, host, cert
		results, err := viaConn(a)
		a.judge(t, results, err)
		if a.on.octets > 0 && hostname != "" && a.on.name == "" && !a.on.has(beginsTLS) {
			t.Errorf("got %d octets with the name %q, want none: %v", a.on.octets, hostname, err)
		}
		if r := (rules{s: a.on.sni}); a.on.sni != "" {
			if r.domain(); !r.end() {
				t.Errorf("got a handshake for %q", a.on.sni)
			}
		}
	})
}

// hostileMechanism is an exchange that says what the fuzzer wants.
type hostileMechanism struct {
	mech  string
	first []byte
	next  []string
	fails bool // when next is over
}

func (a *hostileMechanism) Start() (string, []byte, error) { return a.mech, a.first, nil }
func (a *hostileMechanism) Next([]byte) ([]byte, error) {
	if len(a.next) == 0 && a.fails {
		return nil, errors.New("enough")
	}
	if len(a.next) == 0 {
		return nil, nil
	}
	response := a.next[0]
	a.next = a.next[1:]
	return []byte(response), nil
}

// FuzzMechanism: mechanism and responses come through as they are, or not at all.
func FuzzMechanism(f *testing.F) {
	f.Fuzz(func(t *testing.T, mech, mechs, first string, hasFirst bool, next1, next2 string, challenges uint, fails bool, offers uint) {
		mechs = strings.NewReplacer("\r", " ", "\n", " ").Replace(mechs) // the host may offer what it likes, on one line
		mechs = mechs[:min(len(mechs), 900)]
		for _, response := range []*string{&first, &next1, &next2} {
			*response = (*response)[:min(len(*response), 9000)] // more than RFC 4954 §4 allows isn't said
		}
		m := mailAttack{from: "ann@a.test", to1: "bob@b.test", to2: "eve@b.test", content: "Hello.\r\n", offers: (offers | offerAuth) & allOffers &^ (beginsTLS | offerSTARTTLS)}
		a := m.attack()
		auth := &hostileMechanism{mech: mech, next: []string{next1, next2}, fails: fails}
		var want []string
		if hasFirst {
			auth.first = []byte(first)
			want = append(want, first)
		}
		a.auth, a.on.mechs, a.on.challenges = once(auth), mechs, make([]string, challenges%4)
		results, err := viaConn(a)
		a.judge(t, results, err)
		if a.on.auth == "" {
			if a.on.mails != nil || err == nil {
				t.Errorf("got no AUTH and %d messages, error %v", len(a.on.mails), err)
			}
			return
		}
		steps := len(a.on.challenges)
		if !hasFirst {
			steps++
		}
		want = append(want, []string{next1, next2, "", ""}[:steps]...)
		if fails && steps > 2 {
			want = want[:len(want)-(steps-2)]
		}
		if got := a.on.responses; a.on.auth != asciiUpper(mech) || strings.Join(got, "\xff|") != strings.Join(want, "\xff|") {
			t.Errorf("got AUTH %q with %q, want %q with %q", a.on.auth, got, mech, want)
		}
	})
}

// FuzzPlain: the three parts of PLAIN stay three.
func FuzzPlain(f *testing.F) {
	f.Fuzz(func(t *testing.T, identity, user, password string) {
		m := mailAttack{from: "ann@a.test", to1: "bob@b.test", to2: "eve@b.test", content: "Hello.\r\n", offers: offerAuth}
		a := m.attack()
		a.auth, a.on.mechs = once(sasl.NewPlainClient(identity, user, password)), "PLAIN"
		results, err := viaConn(a)
		a.judge(t, results, err)
		for _, response := range a.on.responses {
			// RFC 4616 §2: no part may hold a NUL.
			if parts := strings.Split(response, "\x00"); len(parts) != 3 || parts[0] != identity || parts[1] != user || parts[2] != password {
				t.Errorf("got %q, want %q, %q and %q", parts, identity, user, password)
			}
		}
	})
}

// shifty is a content that reads differently each time.
type shifty struct {
	reads []string // of offset 0
	n     int
}

func (s *shifty) Size() int64 { return int64(len(s.reads[0])) }

func (s *shifty) ReadAt(b []byte, off int64) (int, error) {
	if off == 0 && s.n < len(s.reads)-1 {
		defer func() { s.n++ }()
	}
	return bytes.NewReader([]byte(s.reads[s.n])).ReadAt(b, off)
}

// FuzzShifty: content that changes between the look at it and its sending is never half committed, and what is
// committed is one message in CRLF lines. That it becomes 8-bit meanwhile isn't watched.
func FuzzShifty(f *testing.F) {
	f.Add("Hello.\r\n", "Hello.\n.\n", "", uint(0))
	f.Add("Hello.\r\n", "\r\n.\r\nRSET\r\n", "", uint(0))
	f.Add("Hello.\r\n", "\r\n.\r\nQU", "", uint(offerPipelining))
	f.Add("Hello.\r\n", "He", "", uint(0))
	f.Add("Hello.\r\n", "", "", uint(0))
	f.Add("Hello.\r\n", "Hello\x00\r\n", "0123456789abcdef\r\n", uint(offerSize|speaksLMTP))
	f.Add("a", "b\r", "\r\n", uint(offerChunking))
	f.Fuzz(func(t *testing.T, first, second, filler string, offers uint) {
		pad := strings.Repeat(filler, (64<<10)/max(1, len(filler)))
		const start = "Subject: \r\n\r\n\xc3\xa9\r\n"
		content := &shifty{reads: []string{start + first + pad, start + second + pad}}
		on := &strictHost{offers: (offers | offer8BitMIME) & allOffers &^ (beginsTLS | offerSTARTTLS | onlyHELO)}
		c := &Conn{Hostname: "client.test", Host: "strict.test", LMTP: on.has(speaksLMTP)}
		client, server := pipe("127.0.0.1:25")
		done := make(chan struct{})
		go func() { on.serve(server); close(done) }()
		if err := c.Open(context.Background(), client); err != nil {
			t.Fatal(err)
		}
		_, err := c.Send(context.Background(), smtp.NewEnvelope("ann@a.test", "bob@b.test"), content)
		c.Quit(context.Background())
		<-done
		committed := len(on.mails) == 1 && on.mails[0].committed
		if committed != (err == nil) || len(on.mails) > 1 || committed && on.err != nil {
			t.Fatalf("got committed %t, error %v, host's error %v, want the same", committed, err, on.err)
		}
		if on.err != nil && !strings.HasPrefix(on.err.Error(), "half a line") {
			t.Errorf("the host heard what nobody may say: %v", on.err)
		}
		if !committed && len(on.mails) == 1 && on.quit {
			t.Errorf("got QUIT after half a message")
		}
	})
}
