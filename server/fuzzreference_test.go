package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// FuzzReference drives whole sessions, by SMTP or by LMTP: the server must answer, close and hand messages over as
// reference does.
func FuzzReference(f *testing.F) {
	for i := range byte(8) {
		f.Add([]byte{0, 0, 0, 9, 0, 26, 0, 20, 1, 3, i, 40, 50, 0, 9, 0, 26, 2, 2, i, 60, 70, 2, 1, i, 128}, i%2 == 1)
	}
	config := testTLS(f)
	f.Fuzz(func(t *testing.T, input []byte, lmtp bool) {
		segments := decoded(input)
		synctest.Test(t, func(t *testing.T) { compareReference(t, segments, lmtp, config) })
	})
}

// TestReference is FuzzReference with 3,000 random sessions, or POSTRIDER_REFERENCE_SESSIONS, every third by LMTP.
func TestReference(t *testing.T) {
	sessions := 3000
	if s := os.Getenv("POSTRIDER_REFERENCE_SESSIONS"); s != "" {
		sessions = must(strconv.Atoi(s))
	}
	config := testTLS(t)
	for seed := range sessions {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		input := make([]byte, rng.IntN(100))
		for i := range input {
			input[i] = byte(rng.Uint32())
		}
		synctest.Test(t, func(t *testing.T) { compareReference(t, decoded(input), seed%3 == 2, config) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestReferenceStates sends each line in each state of a session, and behind it each of turns (not with -short).
func TestReferenceStates(t *testing.T) {
	config := testTLS(t)
	for _, before := range [][]string{
		{}, {ehlo}, {"HELO client.example\r\n"}, {ehlo + mail}, {talked}, {ehlo + "MAIL FROM:<ann@example.com> BODY=BINARYMIME\r\n" + rcpt},
		{talked + octets("a")}, {talked + octets("a\r")}, {talked + final("refuse me")}, {ehlo + octets("a")}, {ehlo, "STARTTLS\r\n"},
		{ehlo, "STARTTLS\r\n", ehlo}, {ehlo + plainLogin, "STARTTLS\r\n", ehlo}, {ehlo + "AUTH LOGIN\r\n"}, {ehlo + plainLogin}, {talked + data}, {talked + data + body},
	} {
		for i, first := range lines {
			synctest.Test(t, func(t *testing.T) {
				for _, second := range append([]string{"NOOP"}, turns...) {
					segments := append(slices.Clone(before), first+"\r\n"+second+"\r\n", rcpt+octets("b\r\n"), final("c"), data)
					segments = append(segments, "d\r\n.\r\n")
					if testing.Short() {
						compareReference(t, segments, i%2 == 1, config)
						break
					}
					compareReference(t, segments, false, config)
					compareReference(t, segments, true, config)
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}

// lines are the lines of commands, responses and texts that a session is made of.
var lines = append(slices.Sorted(maps.Keys(vocabulary)),
	goodPlain, "YW5u", "c2VjcmV0", "*", "=", "", "XYZZY", " NOOP", "R\u017fET", "NOOP\nRSET", "NOOP\rRSET", "NOOP\nBDAT 9",
	"BDAT", "BDAT x", "BDAT 5 LASTX", "BDAT -1", " BDAT 5", "BDAT 99999999 LAST", "bdat 0", "BDAT 0 last",
	"x", ".", "..", ".x", "hello", "refuse me", "a\nb", "a\n.\nb", "a\r", "\x00", strings.Repeat("x", 150), "\xff",
)

// turns are commands that change what may come next.
var turns = []string{
	"EHLO client.example", "EHLO client.example", "STARTTLS", "STARTTLS", "AUTH PLAIN " + goodPlain, "AUTH LOGIN", "RSET", "DATA",
	"MAIL FROM:<ann@example.com>", "MAIL FROM:<ann@example.com> BODY=BINARYMIME", "RCPT TO:<bob@example.net>",
	"RCPT TO:<bob@example.net>", "HELO client.example",
}

// decoded makes the segments of a session out of any octets.
func decoded(input []byte) []string {
	const most = 60 // steps
	var segments []string
	var segment strings.Builder
	next := func() int {
		if len(input) == 0 {
			return 0
		}
		b := input[0]
		input = input[1:]
		return int(b)
	}
	for range most {
		if len(input) == 0 {
			break
		}
		kind := next()
		switch kind % 8 {
		case 5: // what most sessions begin with
			segment.WriteString(talked)
		case 4: // a command whose order matters
			segment.WriteString(turns[next()%len(turns)] + "\r\n")
		case 0: // any line
			segment.WriteString(lines[next()%len(lines)] + "\r\n")
		case 1, 6: // a text, perhaps with its end
			for range next() % 6 {
				segment.WriteString(lines[next()%len(lines)] + "\r\n")
			}
			if kind&64 == 0 {
				segment.WriteString(".\r\n")
			}
		case 2, 7: // a chunk, perhaps cut or with octets behind it
			var text string
			for range next() % 6 {
				text += lines[next()%len(lines)] + "\r\n"
			}
			last, off := "", 0
			if kind&64 == 0 {
				last = " LAST"
			}
			if kind&32 != 0 {
				off = next()%9 - 4
				text = strings.TrimSuffix(text, "\n")
			}
			fmt.Fprintf(&segment, "BDAT %d%s\r\n%s", max(0, len(text)+off), last, text)
		case 3: // octets without a line end
			if text := lines[next()%len(lines)]; vocabulary[text].verb == "" {
				segment.WriteString(text)
			}
		}
		if kind&128 == 0 && segment.Len() > 0 {
			segments = append(segments, segment.String())
			segment.Reset()
		}
	}
	if segment.Len() > 0 {
		segments = append(segments, segment.String())
	}
	return segments
}

// inLMTP says of a session by SMTP what a client says by LMTP.
var inLMTP = strings.NewReplacer("EHLO client", "LHLO client", "LHLO client", "EHLO client")

// compareReference plays a session with the server, and then with the reference.
func compareReference(t *testing.T, segments []string, lmtp bool, config *tls.Config) {
	if lmtp {
		segments = slices.Clone(segments)
		for i := range segments {
			segments[i] = inLMTP.Replace(segments[i])
		}
	}
	d := &desk{}
	d.mail = func(_ context.Context, _ *Peer, env *smtp.Envelope) error {
		if env.From == "refused@example.com" {
			return smtp.NewReply(550, "5.7.1", "not you")
		}
		return nil
	}
	d.rcpt = func(_ *Peer, _ *smtp.Envelope, rcpt smtp.Recipient) error {
		switch rcpt.Address {
		case "unknown@example.net":
			return smtp.NewReply(550, "5.1.1", "no such user")
		case "later@example.net":
			return smtp.NewReply(450, "4.2.1", "busy")
		}
		return nil
	}
	srv := &Server{
		Handler: refuseMe{d}, LMTP: lmtp, TLSConfig: config, BinaryMIME: true, XClient: proxyNets,
		Authenticate: authenticate, StoredCredentials: stored, SCRAMSecret: []byte("x"), AllowInsecureAuth: true,
		MaxSize: refMaxSize, MaxDrain: refMaxDrain, MaxErrors: 1 << 20, MaxCommands: 1 << 20, MaxAuthFailures: 1 << 20,
	}
	c := newWorld(t, srv).dial()
	codes := replyCodes(c.take())[1:]
	for _, segment := range segments {
		got := replyCodes(c.ask(segment))
		codes = append(codes, got...)
		if len(got) > 0 && got[len(got)-1] == "220" && strings.HasSuffix(segment, "STARTTLS\r\n") && !c.closed() {
			c.startTLS()
		}
	}
	c.conn.(interface{ CloseWrite() error }).CloseWrite()
	codes = append(codes, replyCodes(c.take())...)

	ref := &reference{lmtp: lmtp, replies: codes}
	ref.play(segments)
	if ref.fault != "" {
		t.Fatalf("got %s\nsession %q\nreplies %v", ref.fault, segments, codes)
	}
	if !c.closed() {
		t.Errorf("got an open connection after the client left, want it closed; session %q", segments)
	}
	var mails []string
	for _, m := range d.all() {
		mails = append(mails, envelopeText(m.env)+" "+m.body)
	}
	if !slices.Equal(mails, ref.mails) {
		t.Errorf("got mails %q, want %q; session %q", mails, ref.mails, segments)
	}
}

// refuseMe is a desk that refuses a message with the words "refuse me".
type refuseMe struct{ *desk }

func (h refuseMe) Handle(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	b, err := io.ReadAll(body)
	switch {
	case err != nil:
		return nil, err
	case bytes.Contains(b, []byte("refuse me")):
		return smtp.NewReply(550, "5.7.1", "as asked"), nil
	}
	return nil, h.file(p, env, bytes.NewReader(b))
}

// HandleLMTP refuses such a message for one recipient only.
func (h refuseMe) HandleLMTP(_ context.Context, p *Peer, env *smtp.Envelope, body io.Reader) ([]*smtp.Reply, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	served, replies := *env, make([]*smtp.Reply, len(env.Recipients))
	served.Recipients = nil
	for i, r := range env.Recipients {
		if r.Address == "bob@example.net" && bytes.Contains(b, []byte("refuse me")) {
			replies[i] = smtp.NewReply(550, "5.7.1", "as asked")
			continue
		}
		served.Recipients = append(served.Recipients, r)
	}
	if len(served.Recipients) == 0 {
		return replies, nil
	}
	return replies, h.file(p, &served, bytes.NewReader(b))
}
