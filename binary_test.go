package postrider

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// binaryMail is a message that no DATA can carry.
var binaryMail = "Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n" +
	"Content-Transfer-Encoding: binary\r\n\r\n" + strings.Repeat("\x00\n\r\r\n.\r\n\xff\r", 200_000)

// binaryRelay returns a relay that takes BINARYMIME, with a spool.
func binaryRelay(t *testing.T, inet *smtptest.Network) *Relay {
	t.Helper()
	q, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	r := newRelay(inet)
	r.Queue, r.Allow, r.Server = q, allowAll, &server.Server{BinaryMIME: true}
	return r
}

// TestBinary: a message with BODY=BINARYMIME goes through the relay as it is, by its whole way, to a host that takes
// it. If the next host doesn't, its sender hears that.
func TestBinary(t *testing.T) {
	binary := smtp.NewEnvelope("ann@source.test", "bob@next.test")
	binary.Body = smtp.BodyBinaryMIME
	for _, way := range []string{"SMTP", "code"} {
		for _, taken := range []bool{true, false} {
			name := way + ", not taken"
			if taken {
				name = way + ", taken"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					next, source := inet.MX("next.test", "mx.next.test"), inet.MX("source.test", "mx.source.test")
					if taken {
						next.BinaryMIME()
					}
					r := binaryRelay(t, inet)
					l, err := inet.Listen("relay.test:25")
					if err != nil {
						t.Fatal(err)
					}
					inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })
					if way == "SMTP" {
						sub := submission(inet)
						sub.TLS = mx.TLSNone
						defer sub.Close()
						_, err = sub.Send(t.Context(), binary, strings.NewReader(binaryMail))
					} else {
						_, err = r.Send(t.Context(), binary, iotest.HalfReader(strings.NewReader(binaryMail)))
					}
					if err != nil {
						t.Fatal(err)
					}
					if !taken {
						report := source.Wait(1)[0]
						if !bytes.Contains(report.Data, []byte("\r\nStatus: 5.6.3\r\n")) {
							t.Errorf("got report %q, want status 5.6.3 in it", report.Data)
						}
						return
					}
					m := next.Wait(1)[0]
					ours, got, _ := bytes.Cut(m.Data, []byte("Subject: "))
					if "Subject: "+string(got) != binaryMail {
						t.Errorf("got %d octets, want the %d that were sent", len(got), len(binaryMail))
					}
					if !bytes.HasPrefix(ours, []byte("Received: ")) || bytes.Count(ours, []byte("\n")) > 5 {
						t.Errorf("got %q on top, want a Received field", ours)
					}
					if m.Envelope.Body != smtp.BodyBinaryMIME {
						t.Errorf("got BODY %q, want BINARYMIME", m.Envelope.Body)
					}
				})
			})
		}
	}
}

// TestNotBinary: from code, only a message that is declared to be binary is taken with a bare CR or a NUL.
func TestNotBinary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := binaryRelay(t, smtptest.NewNetwork(t))
		env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
		if _, err := r.Send(t.Context(), env, strings.NewReader(binaryMail)); err == nil {
			t.Error("got no error, want one")
		}
	})
}

// TestChunkedRelay: a large message comes in chunks, and goes on in chunks.
func TestChunkedRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		next := inet.MX("next.test", "mx.next.test")
		next.Chunking()
		newHop(t, inet, "relay.test", "hop.test:25")
		newHop(t, inet, "hop.test", "")
		sub := submission(inet)
		sub.TLS = mx.TLSNone
		defer sub.Close()
		content := "Subject: large\r\n\r\n" + strings.Repeat("..a line\r\n.\r\n", 500_000)
		if _, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"),
			io.NewSectionReader(strings.NewReader(content), 0, int64(len(content)))); err != nil {
			t.Fatal(err)
		}
		m := next.Wait(1)[0]
		if _, got, _ := bytes.Cut(m.Data, []byte("Subject: ")); "Subject: "+string(got) != content {
			t.Errorf("got %d octets, want the %d that were sent", len(got), len(content))
		}
		if m.Chunks < 2 {
			t.Errorf("got %d chunks, want several", m.Chunks)
		}
	})
}
